package gateway

import (
	"net/http"
	"slices"
	"strings"

	"quadrille.internal/platform/fault"
)

const (
	// addressHeader has the address of the client.
	addressHeader   = "X-Forwarded-For"
	requestIDHeader = "X-Request-Id"
)

// Headers by which one server tells another who calls, from where, or what is really asked
// for. Who calls the gateway is not believed; what services are told, the gateway sets. Those
// of proxies that httputil.ReverseProxy removes are here too, so that the list is whole.
var (
	notBelieved = []string{
		"Forwarded", "Via", "Remote-User", "True-Client-Ip", "Client-Ip", "Cf-Connecting-Ip", "Fastly-Client-Ip",
		"X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "X-Remote-User", "X-Remote-Addr", "X-Remote-Ip",
		"X-Http-Method", "X-Http-Method-Override", "X-Method-Override", "X-Host",
		// net/http takes it for leave to send a request again; our services do not know it.
		"X-Idempotency-Key",
	}
	notBelievedPrefixes = []string{
		"Quadrille-", "Dapr-", "X-Forwarded", "X-Original-", "X-Rewrite-", "X-User", "X-Auth", "X-Authenticated-", "X-Identity", "X-Account",
		"X-Customer", "X-Caller", "X-Company", "X-Consumer-", "X-Jwt-", "X-Ssl-", "X-Amzn-", "X-Goog-", "Ssl-",
	}
)

// checkHeaders refuses what only an attack sends: a second Authorization, of which the gateway
// might verify one and the service believe the other, and a Connection that names headers,
// which a proxy would then drop.
func checkHeaders(h http.Header) *fault.Fault {
	authorizations := 0
	for name, values := range h {
		if canonical(name) == "Authorization" {
			authorizations += len(values)
		}
	}
	if authorizations > 1 || authorizations == 1 && len(h["Authorization"]) == 0 {
		return fault.New(fault.Invalid, "authorization_twice", "Send Authorization once.")
	}
	for _, value := range h["Connection"] {
		for token := range strings.SplitSeq(value, ",") {
			switch strings.ToLower(strings.TrimSpace(token)) {
			case "", "close", "keep-alive", "te", "upgrade", "http2-settings":
			default:
				return fault.New(fault.Invalid, "connection_malformed", "Connection may name no headers of the request.")
			}
		}
	}
	return nil
}

// canonical is how a header is called, whatever a server takes underscores and case for.
func canonical(name string) string {
	return http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
}

// strip removes what is not believed. Names with underscores go altogether: some servers take
// them for dashes.
func strip(h http.Header) {
	for name := range h {
		called := canonical(name)
		if called != name || slices.Contains(notBelieved, called) ||
			slices.ContainsFunc(notBelievedPrefixes, func(prefix string) bool { return strings.HasPrefix(called, prefix) }) {
			delete(h, name)
		}
	}
}

// bearer returns the token of an Authorization header. Others than Bearer have none.
func bearer(authorization string) (token string, ok bool) {
	scheme, token, found := strings.Cut(authorization, " ")
	return strings.TrimSpace(token), found && strings.EqualFold(scheme, "Bearer")
}

// secure are headers of every answer that does not bring its own.
var secure = map[string]string{
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "no-referrer",
	"Content-Security-Policy":      "default-src 'none'; frame-ancestors 'none'",
	"Strict-Transport-Security":    "max-age=31536000; includeSubDomains",
	"Cross-Origin-Resource-Policy": "same-site",
}

func addSecure(h http.Header) {
	for name, value := range secure {
		if h.Get(name) == "" {
			h.Set(name, value)
		}
	}
}
