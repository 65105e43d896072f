package b2b

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/b2b"
	"quadrille.internal/events/customer"
	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/servicetest"
)

// Nobody is erased whom an open order or a company's policy names. The record of what was
// ordered keeps the id.
func TestACustomerIsErasedOnceNothingOpenNamesHim(t *testing.T) {
	kit := servicetest.NewKit(t, Service())
	forget := erasure.New(kit, erase, func(e events.Erased) events.Event { return b2b.CustomerErased{Erased: e} })
	in := servicetest.RunInbox(t, kit, forget.Handle(nil))
	policy := func(text string) {
		t.Helper()
		servicetest.Exec(t, kit.Pool, `insert into companies (id, name, currency, credit_limit, policy) values ('acme', 'ACME', 'GBP', 1000, $1)
			on conflict (id) do update set policy = excluded.policy`, text)
	}
	approver := `{"approvers": [{"id": "carl", "limit": 5, "level": 1}], "delegations": []}`
	policy(approver)
	id := uuid.New()
	servicetest.Exec(t, kit.Pool, `insert into orders (id, idempotency_key, request_hash, company_id, ordered_by, status, lines, amount, currency,
			allow_backorder, erp_order_id, credit, cancel_asked, traceparent, submitted_at, moved_at, version)
		values ($1, 'k', 'h', 'acme', 'carl', 'allocated', '[]', 400, 'GBP', true, '', 'held', false, '', now(), now(), 1)`, id)
	in.Deliver(servicetest.Message(t, customer.ErasureRequested{OfCustomer: events.OfCustomer{CustomerID: "carl"}, Deadline: time.Now()}, time.Now()))
	for _, c := range []struct {
		what   string
		change func()
		waits  string
	}{
		{"an approver who ordered", func() {}, "open orders: 1, companies whose policy names the customer: 1"},
		{"the order has ended", func() {
			servicetest.Exec(t, kit.Pool, `update orders set ended_at = now(), status = 'completed' where id = $1`, id)
		}, "companies whose policy names the customer: 1"},
		{"somebody else decides for him", func() {
			policy(`{"approvers": [], "delegations": [{"from": "carl", "to": "ann", "since": "2026-01-01T00:00:00Z", "until": "2026-02-01T00:00:00Z"}]}`)
		}, "companies whose policy names the customer: 1"},
		{"he decides for somebody else", func() {
			policy(`{"approvers": [], "delegations": [{"from": "ann", "to": "carl", "since": "2026-01-01T00:00:00Z", "until": "2026-02-01T00:00:00Z"}]}`)
		}, "companies whose policy names the customer: 1"},
		{"the policy names others only", func() { policy(`{"approvers": [{"id": "ann", "limit": 5, "level": 1}]}`) }, ""},
	} {
		c.change()
		servicetest.EraseDue(t, kit.Pool, forget.Next)
		var waits string
		if err := kit.Pool.QueryRow(t.Context(), `select waits_for from erasures`).Scan(&waits); err != nil || waits != c.waits {
			t.Errorf("%s: it waits for %q, %v, want %q", c.what, waits, err, c.waits)
		}
		answers := servicetest.EmittedAbout(t, kit.Pool, "carl")
		if done := c.waits == ""; (len(answers) == 1) != done || done && answers[0].(*b2b.CustomerErased).Kept != 1 {
			t.Errorf("%s: answered %+v", c.what, answers)
		}
	}
}
