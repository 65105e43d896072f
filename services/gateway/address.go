package gateway

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"quadrille.internal/platform/config"
)

// checkOrigin refuses "*", also as a part: answers depend on who asks.
func checkOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.Contains(origin, "*") || origin != u.Scheme+"://"+u.Host {
		return fmt.Errorf("%q is no origin such as https://shop.example", origin)
	}
	return nil
}

// prefixes are ranges of addresses.
type prefixes []netip.Prefix

func readPrefixes(r *config.Reader, name string) (found prefixes) {
	for _, text := range list(r.String(name, "")) {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			r.Fault(name, fmt.Errorf("%q is no range of addresses such as 10.0.0.0/8", text))
			continue
		}
		found = append(found, p.Masked())
	}
	return found
}

// list splits a setting at its commas.
func list(text string) (parts []string) {
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

func (p prefixes) contain(a netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// of returns the address of the client: the peer's, or where that is one of our own proxies,
// the last one in X-Forwarded-For that is not.
func (p prefixes) of(r *http.Request) netip.Addr {
	address := parseAddress(r.RemoteAddr)
	if !p.contain(address) {
		return address
	}
	var hops []string
	for _, value := range r.Header[addressHeader] {
		hops = append(hops, list(value)...)
	}
	for i := len(hops) - 1; i >= 0; i-- {
		hop := parseAddress(hops[i])
		if !hop.IsValid() {
			break
		}
		if address = hop; !p.contain(hop) {
			break
		}
	}
	return address
}

func parseAddress(text string) netip.Addr {
	if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	}
	a, _ := netip.ParseAddr(text)
	return a.Unmap().WithZone("")
}
