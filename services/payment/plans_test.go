package main

import (
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
)

const history = `
	insert into payments
	select gen_random_uuid(), case when due then 'charging' else 'completed' end, 1, 'GBP', 'tok_success', '', false, 'ch_1', '',
	       null, 0, '', case when due then now() - interval '1 second' end, now(), now(), now(), 2
	from (select i, i % 1000 = 0 as due from generate_series(1, 50000) i) n`

func TestPlans(t *testing.T) {
	servicetest.CheckPlans(t, migrations, []string{history}, []string{"payments_pkey", "payments_due"},
		func(t *testing.T, kit *service.Kit) {
			r := fixture{kit: kit, psp: startStandIn(t, 0)}.replica(t)
			if err := r.sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := len(r.waiting); n != 50 {
				t.Errorf("swept up %d payments, want 50", n)
			}
			r.deliver(t, inventoryReserved(uuid.New(), "tok_success"))
		})
}
