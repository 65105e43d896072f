package audit_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/cart"
	"quadrille.internal/services/cart/audit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStory(t *testing.T) {
	spec := cart.Service()
	pool := pgtest.Open(t, spec.Migrations, spec.Grants)
	id, early := uuid.New(), uuid.New()
	servicetest.Exec(t, pool, `insert into cart_orders (id, cart_id, lines, verdict, heard_at, version) values
		($1, $1, '[]', '', now(), 1), ($2, null, '[]', 'cancelled', now(), 1)`, id, early)
	servicetest.CheckBooks(t, pool, audit.Books, id, "cart is being ordered")
	servicetest.CheckBooks(t, pool, audit.Books, early, "heard that the order ended")
	servicetest.CheckBooks(t, pool, audit.Books, uuid.New())
}

func TestRulesFindFaults(t *testing.T) {
	spec := cart.Service()
	pool := pgtest.Open(t, spec.Migrations, spec.Grants)
	twice, nothing, good, stuck := uuid.New(), uuid.New(), uuid.New(), uuid.New()
	servicetest.Exec(t, pool, `insert into carts (id, customer_id, lines, created_at, changed_at, version) values
		($1, 'c1', '[{"sku": "a", "quantity": 1}, {"sku": "a", "quantity": 2}]', now(), now(), 1),
		($2, 'c2', '[{"sku": "a", "quantity": 0}]', now(), now(), 1),
		($3, 'c3', '[{"sku": "a", "quantity": 1}, {"sku": "b", "quantity": 1}]', now(), now(), 1)`, twice, nothing, good)
	servicetest.Exec(t, pool, `insert into cart_orders (id, cart_id, lines, verdict, heard_at, version) values
		($1, $2, '[]', '', now() - interval '25 hours', 1), ($2, $2, '[]', '', now(), 1),
		($3, $2, '[]', 'confirmed', now() - interval '25 hours', 1)`, stuck, good, twice)
	checks, err := audit.Books.Check(t.Context(), pgtest.Auditor(t, pool))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, c := range checks {
		for _, f := range c.Faults {
			found[f.ID] = c.Name
		}
	}
	for id, rule := range map[uuid.UUID]string{twice: "one for each SKU", nothing: "one for each SKU", stuck: "within a day"} {
		if !strings.Contains(found[id.String()], rule) {
			t.Errorf("%s breaks %q, found was %q", id, rule, found[id.String()])
		}
	}
	if len(found) != 3 {
		t.Errorf("found %v", found)
	}
}
