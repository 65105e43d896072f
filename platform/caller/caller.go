// Package caller tells who makes a request. With a verifier the access token says it.
// Without one an edge does: it authenticates the caller, removes every Quadrille-Caller
// header that came from outside and sets its own.
package caller

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
)

// Scopes that a caller may have.
const (
	// ScopeOperator is for who operates the shop: it opens admin ports.
	ScopeOperator = "operator"
	// ScopeApprover is for managers, who decide on orders of their company.
	ScopeApprover = "approver"
	// ScopePrices is for who may name prices of its own at checkout.
	ScopePrices = "checkout:prices"
)

// InvalidToken is the WWW-Authenticate of an answer to an access token that is not valid.
const InvalidToken = `Bearer error="invalid_token"` //nolint:gosec // it has no token

// Header is "<id>", or "<id>; company=<id>" for somebody who acts for a company.
const Header = "Quadrille-Caller"

// Ids have the form of all ids that come from outside, see events.ValidName.
var form = regexp.MustCompile(`^([A-Za-z0-9._-]{1,64})(?:; ?company=([A-Za-z0-9._-]{1,64}))?$`)

// Caller is who makes a request. An access token says all of it, an edge ID and Company.
type Caller struct {
	// ID is the account's, which is the customer's too, or "" for who is anonymous.
	ID string
	// Company is the one the caller acts for, or "".
	Company string
	// Groups are those of a customer, which prices depend on.
	Groups []string
	// Scopes are what the caller may do beside what every customer may.
	Scopes []string
	// Session is the one the token was issued for, or "".
	Session string
	// Edge says that an edge named the caller, which knows no scopes: it lets through what
	// each may do.
	Edge bool
}

// Anonymous reports whether nobody signed in. That is known only on open routes.
func (c Caller) Anonymous() bool { return c.ID == "" }

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

// Verifier verifies access tokens. Its errors are faults.
type Verifier interface {
	Verify(ctx context.Context, token string) (Caller, error)
}

// Guard reads the caller of each request.
type Guard struct {
	// Verifier, unless nil, has callers prove themselves with an access token. An edge is
	// not believed then: a request with its header is refused.
	Verifier Verifier
	// Required refuses requests that name no caller: the service stands behind an edge.
	Required bool

	refused atomic.Int64
}

// Refused counts the requests that were refused for what they say of their caller.
func (g *Guard) Refused() int64 { return g.refused.Load() }

// Handler passes requests on with their caller in the context.
func (g *Guard) Handler(next http.Handler) http.Handler { return g.handler(next, false) }

// Open is Handler for routes that everybody may use: who names no caller is anonymous.
// A caller who is named must still be right, so that nobody goes on as a stranger unnoticed.
func (g *Guard) Open(next http.Handler) http.Handler { return g.handler(next, true) }

func (g *Guard) handler(next http.Handler, open bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, known, err := g.read(r)
		switch {
		case err != nil:
			if f := fault.Of(err); f.Kind == fault.Unauthorized {
				w.Header().Set("WWW-Authenticate", InvalidToken)
			}
		case known, open && g.knows():
			r = r.WithContext(With(r.Context(), c))
		case g.Verifier != nil:
			w.Header().Set("WWW-Authenticate", "Bearer")
			err = fault.New(fault.Unauthorized, "caller_unknown", "Sign in, and send the access token as Authorization: Bearer.")
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

// knows reports whether who is not named is anonymous, and not just unknown.
func (g *Guard) knows() bool { return g.Verifier != nil || g.Required }

// read returns who a request says makes it.
func (g *Guard) read(r *http.Request) (c Caller, known bool, err error) {
	if g.Verifier == nil {
		c, known, err = Parse(r.Header)
		c.Edge = known
		return c, known, err
	}
	if dubious(r.Header) || len(r.Header.Values(Header)) > 0 {
		return c, false, fault.Field(Header, "malformed", "The access token says who makes a request: %s is not sent.", Header)
	}
	values := r.Header.Values("Authorization")
	if len(values) > 1 {
		return c, false, fault.Field("Authorization", "malformed", "Authorization is sent once.")
	}
	if len(values) == 0 {
		return c, false, nil
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return c, false, nil // credentials for the route itself
	}
	c, err = g.Verifier.Verify(r.Context(), strings.TrimSpace(token))
	return c, err == nil, err
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
// is known, everything is; where the caller is anonymous, nothing.
func Is(ctx context.Context, id string) bool {
	c, known := From(ctx)
	return !known || id != "" && c.ID == id
}

// Has reports whether the caller has a scope. Where no caller is known, or an edge named
// him, he has.
func Has(ctx context.Context, scope string) bool {
	c, known := From(ctx)
	return !known || c.Edge || slices.Contains(c.Scopes, scope)
}

// CheckScope refuses a caller who has not the scope.
func CheckScope(ctx context.Context, scope string) error {
	if Has(ctx, scope) {
		return nil
	}
	return fault.New(fault.Forbidden, "scope_missing", "This needs the scope %s, which an operator gives.", scope)
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
