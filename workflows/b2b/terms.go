package b2b

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"github.com/go-chi/chi/v5"

	"quadrille.internal/events"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/rest"
	"quadrille.internal/workflows/b2b/wire"
)

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
	case t.Name == "" || len(t.Name) > 200 || strings.ContainsFunc(t.Name, unicode.IsControl):
		return fault.Field("name", "malformed", "A name has 1 to 200 bytes, and no control characters.")
	case !events.ValidCurrency(t.Currency):
		return fault.Field("currency", "malformed", "A currency is an ISO 4217 code, such as GBP.")
	case t.CreditLimit < 0 || t.CreditLimit > maxCredit:
		return fault.Field("credit_limit", "out_of_range", "credit_limit is a number from 0 to %d, in minor units.", int64(maxCredit))
	}
	for i, w := range t.Warehouses {
		if !events.ValidName(w) {
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
	if !events.ValidName(id) {
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
