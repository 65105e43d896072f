package price

import (
	"net/http"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/price/audit"
	"quadrille.internal/services/price/book"
)

// Much was sold and changed before.
var history = []string{
	`insert into revisions (id, made_at, what) select i, now(), 'x' from generate_series(1, 50000) i`,
	`update book set revision = 50000`,
	`insert into documents (kind, name, since, until, body)
		select 'promotion', 'p' || i % 50, i, i + 50, '{"kind": "percentage", "rate": 1, "valid_from": "2020-01-01T00:00:00Z"}' from generate_series(1, 950) i`,
	`insert into documents (kind, name, since, body)
		select 'voucher', 'V' || i, 1, '{"kind": "percentage", "rate": 1, "valid_from": "2020-01-01T00:00:00Z"}' from generate_series(1, 20000) i`,
	`insert into vouchers (code, max_uses) select 'V' || i, 100 from generate_series(1, 20000) i`,
	`insert into documents (kind, name, since, body)
		values ('list', 'base', 1, '{"group": "", "currency": "GBP", "valid_from": "2020-01-01T00:00:00Z"}')`,
	`insert into prices (sku, list, min_quantity, since, until, amount) select 'S' || i % 20000, 'base', 1, i, i + 1, 1 from generate_series(1, 40000) i`,
	`insert into prices (sku, list, min_quantity, since, amount) select 'S' || i, 'base', 1, 50000, 1 from generate_series(0, 19999) i`,
	`insert into public_prices (key, version, deleted, value) select 'S' || i, 1, false, '{"prices": []}' from generate_series(0, 19999) i`,
	`insert into voucher_uses (order_id, code, quote_id, status, held_at, ask_at, ended_at)
		select gen_random_uuid(), 'V' || 1 + i % 20000, gen_random_uuid(), 'cancelled', now(), now(), now() from generate_series(1, 50000) i`,
	`insert into switches (list, at) select 'base', now() + i * interval '1 hour' from generate_series(1, 5000) i`,
}

func TestPlans(t *testing.T) {
	servicetest.CheckPlans(t, Service(), history,
		[]string{"prices_present", "documents_present", "voucher_uses_pkey", "voucher_uses_due", "switches_due", "prices_of_list", "vouchers_pkey"},
		func(t *testing.T, kit *service.Kit) {
			f := fixtureOn(t, kit)
			f.list("base", 500, longAgo)
			f.put("/v1/vouchers/TEN", tenOff, 10)
			q, token := f.quote(1, "TEN")
			f.wantOutcome(f.commit(token, q.ID), committedOutcome)
			f.wantOutcome(f.commit(token, uuid.New()), quoteUsed)
			h := &holds{kit.Outbox, &checkout{}}
			servicetest.Exec(t, kit.Pool, `update voucher_uses set ask_at = now() where order_id = $1`, q.ID)
			if _, err := h.sweep(t.Context()); err != nil {
				t.Error(err)
			}
			f.switchNow()
			if _, err := published.Sweep(t.Context(), kit.Outbox); err != nil {
				t.Error(err)
			}
			for _, path := range []string{"/v1/prices?currency=GBP&sku=TEA", "/v1/prices/lists", "/v1/prices/lists/base/prices", "/v1/vouchers/TEN"} {
				if a := f.admin.Do(http.MethodGet, path, ""); a.Status != http.StatusOK {
					t.Errorf("%s: %d %s", path, a.Status, a.Body)
				}
			}
			if _, err := book.GoodsAt(t.Context(), kit.Pool, q.Version, []string{"TEA"}, "TEN"); err != nil {
				t.Error(err)
			}
		})
}

// While the next version adds its columns, prices are set, quotes committed and settled as
// before.
func TestNewColumnsDoNotDisturb(t *testing.T) {
	f := newFixture(t)
	in := servicetest.RunInbox(t, f.kit, handle)
	f.put("/v1/vouchers/TEN", tenOff, 1000)
	amount := int64(500)
	servicetest.CheckUpgrade(t, f.kit.Pool, func() {
		amount++
		f.list("base", amount, longAgo)
		q, token := f.quote(1, "TEN")
		f.wantOutcome(f.commit(token, q.ID), committedOutcome)
		in.Deliver(servicetest.Message(t, confirmed(q.ID), q.IssuedAt))
		f.switchNow()
		f.told("TEA")
		if problem, err := audit.NewRecomputer(pgtest.Auditor(t, f.kit.Pool)).Check(t.Context(), q); problem != "" || err != nil {
			t.Errorf("%s, %v", problem, err)
		}
	})
}
