// Package caller tells who makes a request. Until services verify identities
// themselves, the edge does: it authenticates the caller, removes every
// Quadrille-Caller header that came from outside and sets its own.
package caller

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
)

// Header is "<id>", or "<id>; company=<id>" for somebody who acts for a company.
const Header = "Quadrille-Caller"

// Ids have the form of all ids that come from outside, see events.ValidName.
var form = regexp.MustCompile(`^([A-Za-z0-9._-]{1,64})(?:; ?company=([A-Za-z0-9._-]{1,64}))?$`)

// Caller is who makes a request.
type Caller struct {
	ID string
	// Company is the one the caller acts for, or "".
	Company string
}

// String returns what Header holds.
func (c Caller) String() string {
	if c.Company == "" {
		return c.ID
	}
	return c.ID + "; company=" + c.Company
}

// Parse returns the caller that a request's header names. known is false where it
// names nobody. Anything but one well-formed header is a fault: it did not come from
// an edge that does its work.
func Parse(h http.Header) (c Caller, known bool, err error) {
	values := h.Values(Header)
	if dubious(h) || len(values) > 1 {
		return c, false, malformed()
	}
	if len(values) == 0 {
		return c, false, nil
	}
	part := form.FindStringSubmatch(values[0])
	if part == nil {
		return c, false, malformed()
	}
	return Caller{ID: part[1], Company: part[2]}, true, nil
}

func malformed() error {
	return fault.Field(Header, "malformed", "%s is sent once, as <id> or <id>; company=<id>.", Header)
}

// dubious finds the two ways around an edge that only removes the header by its
// name: spelling it with underscores, which some servers take for dashes, and naming
// it in Connection, which makes a proxy drop what it has just set.
func dubious(h http.Header) bool {
	for name := range h {
		if len(name) == len(Header) && name != Header && strings.EqualFold(strings.ReplaceAll(name, "_", "-"), Header) {
			return true
		}
	}
	for _, value := range h["Connection"] {
		for token := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(token), Header) {
				return true
			}
		}
	}
	return false
}

// Guard reads the caller of each request.
type Guard struct {
	// Required refuses requests that name no caller: the service stands behind an edge.
	Required bool

	refused atomic.Int64
}

// Refused counts the requests that were refused for what they say of their caller.
func (g *Guard) Refused() int64 { return g.refused.Load() }

// Handler passes requests on with their caller in the context.
func (g *Guard) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, known, err := Parse(r.Header)
		switch {
		case err != nil:
		case known:
			r = r.WithContext(With(r.Context(), c))
		case g.Required:
			w.Header().Set("WWW-Authenticate", Header)
			err = fault.New(fault.Unauthorized, "caller_unknown", "Requests come through the edge, which says in %s who makes them.", Header)
		}
		if err != nil {
			g.refused.Add(1)
			rest.WriteProblem(w, r, fault.Of(err))
			return
		}
		next.ServeHTTP(w, r)
	})
}

type key struct{}

// With returns a context of a request that c makes.
func With(ctx context.Context, c Caller) context.Context { return context.WithValue(ctx, key{}, c) }

// From returns who makes the request of ctx. known is false where nobody said so:
// without an edge, on the admin port, and in work that no request caused.
func From(ctx context.Context) (c Caller, known bool) {
	c, known = ctx.Value(key{}).(Caller)
	return c, known
}

// Is reports whether what belongs to the person id is the caller's. Where no caller
// is known, everything is.
func Is(ctx context.Context, id string) bool {
	c, known := From(ctx)
	return !known || c.ID == id
}

// ActsFor reports whether what belongs to a company is the caller's, like Is.
func ActsFor(ctx context.Context, company string) bool {
	c, known := From(ctx)
	return !known || company != "" && c.Company == company
}

// CheckIs refuses a request that names somebody else than its caller in a field.
func CheckIs(ctx context.Context, field, id string) error {
	if Is(ctx, id) {
		return nil
	}
	return notTheCaller(field)
}

// CheckActsFor is CheckIs for a company.
func CheckActsFor(ctx context.Context, field, company string) error {
	if ActsFor(ctx, company) {
		return nil
	}
	return notTheCaller(field)
}

func notTheCaller(field string) error {
	f := fault.New(fault.Forbidden, "not_the_caller", "%s is not who makes this request.", field)
	f.Field = field
	return f
}
