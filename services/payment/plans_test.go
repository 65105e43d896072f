package payment

import (
	"net/http"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
)

const history = `
	insert into payments (id, status, amount, currency, token, traceparent, cancelled, charge_id, refund_id, attempts, last_error,
		due_at, sent_at, requested_at, completed_at, refused_at, version)
	select gen_random_uuid(), status, 1, 'GBP', '', '', false, 'ch_1', '', case when i % 2000 = 1 then 1 else 0 end, '',
	       case when status = 'charging' then now() - interval '1 second' end, now(), now(),
	       case when status = 'completed' then now() end, case when status = 'refused' then now() - interval '2 days' end, 2
	from (select i, case i % 1000 when 1 then 'charging' when 2 then 'refused' else 'completed' end as status
	      from generate_series(1, 50000) i) n`

func TestPlans(t *testing.T) {
	servicetest.CheckPlans(t, Service(), []string{history}, []string{"payments_pkey", "payments_fresh", "payments_retry", "payments_refused"},
		func(t *testing.T, kit *service.Kit) {
			r := fixture{kit: kit, psp: startStandIn(t, 0)}.replica(t)
			if err := r.sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			if fresh, again := len(r.fresh), len(r.retries); fresh != 25 || again != 25 {
				t.Errorf("swept up %d payments never tried and %d that were, want 25 of each", fresh, again)
			}
			if err := r.books.count(t.Context()); err != nil {
				t.Fatal(err)
			}
			servicetest.Serve(t, r.books.operatorRoutes).Do(http.MethodGet, "/v1/payments?status=refused", "")
			r.deliver(t, inventoryReserved(uuid.New(), "tok_success"))
		})
}
