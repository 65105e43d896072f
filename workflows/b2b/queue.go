package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"quadrille.internal/events"
	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/intake"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/rest"
	"quadrille.internal/workflows/b2b/wire"
)

const (
	queueMost  = 500
	stuckBound = 30 * time.Second // for a step that waits for no person
)

// approvals lists what waits for an approver, soonest to expire first.
func (s *server) approvals(w http.ResponseWriter, r *http.Request) error {
	approver := r.URL.Query().Get("approver")
	if !intake.ValidName(approver) {
		return fault.Field("approver", "required", "Say whose queue: ?approver=.")
	}
	ctx := r.Context()
	if err := caller.CheckIs(ctx, "approver", approver); err != nil {
		return err
	}
	by, known := caller.From(ctx) // who may have a namesake at another company
	open, err := gates.Select(ctx, s.pool, `
		where state = 'open' and (not $3 or company_id = $4) and company_id in (
			select id from companies
			where policy->'approvers' @> jsonb_build_array(jsonb_build_object('id', $1::text))
			   or policy->'delegations' @> jsonb_build_array(jsonb_build_object('to', $1::text)))
		order by expire_at limit $2`, approver, queueMost, known, by.Company)
	if err != nil {
		return err
	}
	queue := []wire.Pending{}
	for _, g := range open {
		p, err := s.pendingFor(ctx, g, approver)
		if err != nil {
			return err
		}
		if p != nil {
			queue = append(queue, *p)
		}
	}
	return rest.Write(w, http.StatusOK, wire.Approvals{Approvals: queue})
}

// pendingFor returns the queue entry of a gate, or nil if it is not this
// approver's to decide.
func (s *server) pendingFor(ctx context.Context, g *Gate, approver string) (*wire.Pending, error) {
	o, err := loadOrder(ctx, s.pool, g.ID)
	if err != nil {
		return nil, err
	}
	company, err := loadCompany(ctx, s.pool, g.CompanyID)
	if err != nil {
		return nil, err
	}
	given, err := listDecisions(ctx, s.pool, g.ID)
	if err != nil {
		return nil, err
	}
	b := &ballot{gate: g, order: o, policy: Policy(company.Policy), earlier: given}
	principal := b.policy.Principal(approver, o.Amount, o.OrderedBy, time.Now(), b.principals())
	if principal == "" {
		return nil, nil //nolint:nilnil // not in this queue
	}
	p := &wire.Pending{
		OrderID: o.ID, CompanyID: o.CompanyID, OrderedBy: o.OrderedBy, Total: o.total(), Lines: o.Lines,
		CreditLeft: company.CreditLimit - company.Held - company.Exposure, Need: g.Need, Given: len(given),
		OnApprove: "the stock is allocated and the order goes to the ERP", OpenedAt: g.OpenedAt, ExpiresAt: g.ExpireAt,
	}
	if left := g.Need - len(given) - 1; left > 0 {
		p.OnApprove = fmt.Sprintf("approvals still needed then: %d", left)
	}
	if principal != approver {
		p.OnBehalfOf = principal
	}
	return p, nil
}

// stuck is the watchdog's list: orders that wait neither for a person nor for
// their turn. A step that keeps failing moves its order each time; its own age tells.
func (s *server) stuck(w http.ResponseWriter, r *http.Request) error {
	late, err := orders.Select(r.Context(), s.pool, `
		where ended_at is null and (status = 'compensation_failed'
			or (status <> 'awaiting_approval' and (moved_at < $1 or exists (
				select from jsonb_to_recordset(steps) as step(verdict jsonb, started_at timestamptz)
				where step.verdict is null and step.started_at < $1)))
			or (status = 'awaiting_approval' and id in (
				select id from gates where state <> 'open' and observed_at is null and decided_at < $1
				union select id from gates where state = 'open' and expire_at < $1)))
		order by moved_at limit $2`, time.Now().Add(-stuckBound), queueMost)
	if err != nil {
		return err
	}
	list := []wire.Stuck{}
	for _, o := range late {
		list = append(list, stuckFor(o))
	}
	return rest.Write(w, http.StatusOK, wire.StuckOrders{Stuck: list})
}

func stuckFor(o *Order) wire.Stuck {
	s := wire.Stuck{
		OrderID: o.ID, Status: string(o.Status), Since: o.MovedAt,
		Why: "waits for " + waitsFor(o) + "; no worker has taken it up",
	}
	for _, st := range o.Steps {
		if st.Verdict == nil && st.Error != "" {
			s.Since, s.Why = st.StartedAt, fmt.Sprintf("%s failed %d times: %s", st.Name, st.Attempts, st.Error)
		}
	}
	return s
}

func (s *server) getCompany(w http.ResponseWriter, r *http.Request) error {
	c, err := loadCompany(r.Context(), s.pool, chi.URLParam(r, "company"))
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusOK, c)
}

// maxCredit keeps the sum of a limit and an order within 64 bits.
const maxCredit = 1_000_000_000_000_000_000

func checkTerms(t *wire.Terms) error {
	switch {
	case t.Name == "" || len(t.Name) > 200:
		return fault.Field("name", "malformed", "A name has 1 to 200 bytes.")
	case !events.ValidCurrency(t.Currency):
		return fault.Field("currency", "malformed", "A currency is an ISO 4217 code, such as GBP.")
	case t.CreditLimit < 0 || t.CreditLimit > maxCredit:
		return fault.Field("credit_limit", "out_of_range", "credit_limit is a number from 0 to %d, in minor units.", int64(maxCredit))
	}
	for i, w := range t.Warehouses {
		if !intake.ValidName(w) {
			return fault.Field(fmt.Sprintf("warehouses[%d]", i), "malformed", "A warehouse is 1 to 64 of A-Z a-z 0-9 . _ -.")
		}
	}
	return Policy(t.Policy).withDefaults().validate()
}

// fill makes what was left out an empty list.
func fill(t *wire.Terms) {
	if t.Warehouses == nil {
		t.Warehouses = []string{}
	}
	if t.Policy.Rules == nil {
		t.Policy.Rules = []Rule{}
	}
	if t.Policy.Approvers == nil {
		t.Policy.Approvers = []Approver{}
	}
	if t.Policy.Delegations == nil {
		t.Policy.Delegations = []Delegation{}
	}
}

func (s *server) putCompany(w http.ResponseWriter, r *http.Request) error {
	id := chi.URLParam(r, "company")
	if !intake.ValidName(id) {
		return fault.Field("company", "malformed", "A company id is 1 to 64 of A-Z a-z 0-9 . _ -.")
	}
	var t wire.Terms
	if _, err := rest.Decode(w, r, &t); err != nil {
		return err
	}
	if err := checkTerms(&t); err != nil {
		return err
	}
	fill(&t)
	err := s.outbox.InTx(r.Context(), func(ctx context.Context, tx *outbox.Tx) error {
		set, err := moved(tx.Exec(ctx, `
			insert into companies (id, name, currency, credit_limit, warehouses, policy) values ($1, $2, $3, $4, $5, $6)
			on conflict (id) do update set name = excluded.name, currency = excluded.currency,
				credit_limit = excluded.credit_limit, warehouses = excluded.warehouses, policy = excluded.policy
			where companies.currency = excluded.currency
				or not exists (select from orders where company_id = excluded.id)`,
			id, t.Name, t.Currency, t.CreditLimit, t.Warehouses, t.Policy))
		if err == nil && !set {
			err = fault.New(fault.Conflict, "currency_in_use", "The company has orders in its currency; it cannot have another.")
		}
		return err
	})
	if pgtx.Violates(err, "within_limit") {
		return fault.New(fault.Conflict, "limit_below_use", "The company's orders use more than that limit already.")
	}
	if err != nil {
		return fmt.Errorf("set company: %w", err)
	}
	return s.getCompany(w, r)
}
