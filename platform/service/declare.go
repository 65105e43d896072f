package service

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"quadrille.internal/events"
	"quadrille.internal/platform/config"
)

// On one machine each service has a block of ports, the first of which is its Spec's:
// there is room for 38 services, beside what else runs there.
const (
	FirstPort     = 18100
	LastPort      = 18880
	PortsEach     = 20
	portOfGRPC    = 1
	portOfAdmin   = 2
	portOfHealth  = 3
	portOfSidecar = 10
)

// reservedPorts are blocks in which the stack's PostgreSQL and Redis listen.
var reservedPorts = []int{18540, 18620}

// Ports are those of a service and its sidecar on one machine.
type Ports struct {
	Public, GRPC, Admin, Health                               int
	SidecarHTTP, SidecarGRPC, SidecarInternal, SidecarMetrics int
}

// Ports returns the ports of the service's block.
func (s Spec) Ports() Ports {
	return Ports{
		Public: s.Port, GRPC: s.Port + portOfGRPC, Admin: s.Port + portOfAdmin, Health: s.Port + portOfHealth,
		SidecarHTTP: s.Port + portOfSidecar, SidecarGRPC: s.Port + portOfSidecar + 1,
		SidecarInternal: s.Port + portOfSidecar + 2, SidecarMetrics: s.Port + portOfSidecar + 3,
	}
}

// Partner is a third party that a service calls. Its settings are QUADRILLE_<NAME>_URL and
// QUADRILLE_<NAME>_KEY; local/<name> stands in for it.
type Partner struct {
	Name string
	// What it is, for the documents: "the payment provider".
	What string
	// Port is where the stand-in listens on one machine.
	Port int
	// Scheme of its URL; "" is http.
	Scheme string
}

// Setting returns the name of its setting X.
func (p Partner) Setting(x string) string {
	return "QUADRILLE_" + strings.ToUpper(p.Name) + "_" + x
}

// URL is where the stand-in is on one machine.
func (p Partner) URL() string {
	return cmp.Or(p.Scheme, "http") + "://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Port))
}

// Read reads where the partner is, and the key to it.
func (p Partner) Read(r *config.Reader) (url string, key config.Secret) {
	url = r.About("where "+p.What+" is; by default its stand-in").String(p.Setting("URL"), p.URL())
	return url, r.About("the key to " + p.What).Secret(p.Setting("KEY"))
}

var (
	serviceName = regexp.MustCompile(`^[a-z][a-z0-9]*$`)
	methodName  = regexp.MustCompile(`^/[A-Za-z0-9_.]+/[A-Za-z0-9_]+$`)
	publicPath  = regexp.MustCompile(`^(/[A-Za-z0-9._-]*[A-Za-z0-9_-])+$`)
)

// Check reports everything that is wrong with the declaration, as far as it can be
// known without those of other services.
func (s Spec) Check() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("service %s: "+format, append([]any{s.Name}, args...)...))
	}
	if !serviceName.MatchString(s.Name) {
		fault("the name must be of small letters and digits")
	}
	if s.Port < FirstPort || s.Port > LastPort || s.Port%PortsEach != 0 || slices.Contains(reservedPorts, s.Port) {
		fault("port %d does not begin a block: take one of %d, %d, ... %d, but none of %v",
			s.Port, FirstPort, FirstPort+PortsEach, LastPort, reservedPorts)
	}
	for _, eventType := range s.Emits {
		def, known := events.Lookup(eventType)
		switch {
		case !known:
			fault("Emits has %q, which is not registered: add it to events/%s/register.go", eventType, s.Name)
		case def.Owner != s.Name:
			fault("Emits has %s, which belongs to %s", eventType, def.Owner)
		}
	}
	for _, eventType := range s.EmittedBefore {
		def, known := events.Lookup(eventType)
		switch {
		case !known:
			fault("EmittedBefore has %q, which is not registered: import its owner's package of events", eventType)
		case def.Owner != s.Name && !slices.Contains(def.Before, s.Name):
			fault("EmittedBefore has %s, and consumers park what comes from %s: call events.PublishedBefore in events/%s/register.go",
				eventType, s.Name, def.Owner)
		}
	}
	for _, eventType := range s.Hears {
		if _, known := events.Lookup(eventType); !known {
			fault("Hears has %q, which is not registered: import its owner's package of events", eventType)
		}
	}
	for _, method := range s.Calls {
		if !methodName.MatchString(method) {
			fault("Calls has %q, want the full name of a method: /package.Service/Method", method)
		}
	}
	for _, path := range s.Paths {
		if !publicPath.MatchString(path) {
			fault("Paths has %q, want the beginning of a path such as /v1/orders", path)
		}
	}
	if !s.HasDatabase() && len(s.Emits)+len(s.EmittedBefore)+len(s.Hears)+len(s.Grants) > 0 {
		fault("it emits, hears or has Grants, which needs a database: set Migrations")
	}
	for _, list := range [][]string{slices.Concat(s.Emits, s.EmittedBefore), s.Hears, s.Calls, s.Paths} {
		if twice := repeated(list); twice != "" {
			fault("%s is declared twice", twice)
		}
	}
	return errors.Join(faults...)
}

// repeated returns a text that is in the list twice, or "".
func repeated(list []string) string {
	for i, text := range list {
		if slices.Contains(list[:i], text) {
			return text
		}
	}
	return ""
}
