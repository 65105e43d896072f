package b2b

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/platform/token"
	"quadrille.internal/platform/tokentest"
)

// Two companies have approvers of the same name, and each caller acts for one. Orders
// of the other do not exist for them.
func TestCallersSeeAndDecideForTheirCompanyOnly(t *testing.T) {
	o := newOffice(t)
	for _, company := range []string{"acme", "globex"} {
		o.company(company, 100_000, board())
	}
	ours, theirs := o.gated("acme", 5_000).OrderID, o.gated("globex", 5_000).OrderID
	s := &server{pool: o.Pool, outbox: o.Outbox, relay: newRelay(o.Pool, nil, o.Log, 3), api: o.API}
	api := servicetest.Serve(t, func(r chi.Router) {
		s.routes(r.With((&caller.Guard{Required: true}).Handler))
	})
	const approve = `{"approver":"alice","decision":"approve"}`
	submit := func(company, by string) string {
		return fmt.Sprintf(`{"company_id":%q,"ordered_by":%q,"lines":[{"sku":"desk","quantity":1,"unit_price":100}]}`, company, by)
	}
	alice, carl := "alice; company=acme", "carl; company=acme"
	for _, c := range []struct {
		as, method, path, body string
		status                 int
		code, field            string
	}{
		{"", "GET", "/v1/b2b/orders/" + ours.String(), "", 401, "caller_unknown", ""},
		{carl, "GET", "/v1/b2b/orders/" + ours.String(), "", 200, "", ""},
		{carl, "GET", "/v1/b2b/orders/" + theirs.String(), "", 404, "order_not_found", ""},
		{"carl", "GET", "/v1/b2b/orders/" + ours.String(), "", 404, "order_not_found", ""},
		{carl, "POST", "/v1/b2b/orders/" + theirs.String() + "/cancel", "", 404, "order_not_found", ""},
		{carl, "GET", "/v1/b2b/companies/acme", "", 200, "", ""},
		{carl, "GET", "/v1/b2b/companies/globex", "", 404, "company_not_found", ""},
		{carl, "POST", "/v1/b2b/orders", submit("acme", "dora"), 403, "not_the_caller", "ordered_by"},
		{carl, "POST", "/v1/b2b/orders", submit("globex", "carl"), 403, "not_the_caller", "company_id"},
		{"carl", "POST", "/v1/b2b/orders", submit("acme", "carl"), 403, "not_the_caller", "company_id"},
		{carl, "POST", "/v1/b2b/orders", submit("acme", "carl"), 202, "", ""},
		{carl, "POST", "/v1/b2b/orders/" + ours.String() + "/approval", approve, 403, "not_the_caller", "approver"},
		{alice, "POST", "/v1/b2b/orders/" + theirs.String() + "/approval", approve, 404, "order_not_found", ""},
		{carl, "GET", "/v1/b2b/approvals?approver=alice", "", 403, "not_the_caller", "approver"},
		{alice, "GET", "/v1/b2b/approvals?approver=alice", "", 200, "", ""},
		{alice, "POST", "/v1/b2b/orders/" + ours.String() + "/approval", approve, 200, "", ""},
	} {
		header := []string{"Idempotency-Key", "PO-1"}
		if c.as != "" {
			header = append(header, caller.Header, c.as)
		}
		a := api.Do(c.method, c.path, c.body, header...)
		if p := a.Problem(); a.Status != c.status || p.Code != c.code || p.Field != c.field {
			t.Errorf("%s: %s %s %s: %d %s, want %d %s %s", c.as, c.method, c.path, c.body, a.Status, a.Body, c.status, c.code, c.field)
		}
		if strings.HasPrefix(c.path, "/v1/b2b/approvals") && strings.Contains(a.Body, theirs.String()) {
			t.Errorf("%s is shown an order of another company: %s", c.as, a.Body)
		}
	}
	if o.gate(theirs).State != GateOpen || len(o.decisions(theirs)) > 0 {
		t.Error("the other company's order was decided")
	}
	operators := servicetest.Serve(t, s.operatorRoutes)
	for _, path := range []string{"/orders/" + theirs.String(), "/companies/globex", "/approvals?approver=alice", "/stuck"} {
		if a := operators.Do(http.MethodGet, "/v1/b2b"+path, ""); a.Status != http.StatusOK {
			t.Errorf("an operator's GET %s: %d %s", path, a.Status, a.Body)
		}
	}
}

// A manager approves as who the access token says he is, whatever the request says, and
// only with the scope for it. Without a name in the request it is his.
func TestManagersApproveAsWhoTheyAre(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 100_000, board())
	first, second := o.gated("acme", 5_000).OrderID, o.gated("acme", 5_000).OrderID
	s := &server{pool: o.Pool, outbox: o.Outbox, relay: newRelay(o.Pool, nil, o.Log, 3), api: o.API}
	identity := tokentest.New(t)
	keys := token.NewRemote(identity.URL, o.Log)
	api := servicetest.Serve(t, func(r chi.Router) {
		s.routes(r.With((&caller.Guard{Verifier: token.NewVerifier(identity.URL, keys)}).Handler))
	})
	as := func(id, company string, scopes ...string) []string {
		return []string{"Authorization", "Bearer " + identity.Token(caller.Caller{ID: id, Company: company, Scopes: scopes})}
	}
	alice, bob := as("alice", "acme", caller.ScopeApprover), as("bob", "acme", caller.ScopeApprover)
	for _, c := range []struct {
		what, method, path, body string
		as                       []string
		status                   int
		code                     string
	}{
		{"another's name", "POST", "/v1/b2b/orders/" + first.String() + "/approval", `{"approver":"alice","decision":"approve"}`, bob, 403, "not_the_caller"},
		{"no scope", "POST", "/v1/b2b/orders/" + first.String() + "/approval", `{"approver":"alice","decision":"approve"}`, as("alice", "acme"), 403, "scope_missing"},
		{"another company", "POST", "/v1/b2b/orders/" + first.String() + "/approval", `{"decision":"approve"}`, as("alice", "globex", caller.ScopeApprover), 404, "order_not_found"},
		{"the edge's header", "POST", "/v1/b2b/orders/" + first.String() + "/approval", `{"decision":"approve"}`, []string{caller.Header, "alice; company=acme"}, 400, "malformed"},
		{"no token", "POST", "/v1/b2b/orders/" + first.String() + "/approval", `{"approver":"alice","decision":"approve"}`, nil, 401, "caller_unknown"},
		{"another's queue", "GET", "/v1/b2b/approvals?approver=alice", "", bob, 403, "not_the_caller"},
		{"his queue", "GET", "/v1/b2b/approvals", "", alice, 200, ""},
		{"himself, unnamed", "POST", "/v1/b2b/orders/" + first.String() + "/approval", `{"decision":"approve"}`, alice, 200, ""},
		{"himself, named", "POST", "/v1/b2b/orders/" + second.String() + "/approval", `{"approver":"alice","decision":"approve"}`, alice, 200, ""},
	} {
		a := api.Do(c.method, c.path, c.body, c.as...)
		if a.Status != c.status || a.Problem().Code != c.code {
			t.Errorf("%s: %d %s, want %d %s", c.what, a.Status, a.Body, c.status, c.code)
		}
		if c.what == "his queue" && !strings.Contains(a.Body, first.String()) {
			t.Errorf("his queue: %s", a.Body)
		}
	}
	for _, id := range []uuid.UUID{first, second} {
		if d := o.decisions(id); len(d) != 1 || d[0].Approver != "alice" {
			t.Errorf("decisions %+v, want one of alice", d)
		}
	}
}
