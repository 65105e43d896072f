package inbox

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/pgtest"
)

// Neither entering nor forgetting ids may cost more the more there are.
func TestPlans(t *testing.T) {
	for _, way := range []string{pgtest.Custom, pgtest.Generic} {
		t.Run(way, func(t *testing.T) {
			pool := pgtest.Open(t, pgtest.None)
			explained, plans := pgtest.Explain(t, pool, way)
			in := New(Config{Consumer: "order", Pool: explained})
			now := time.Now()
			for range 2 { // while there is nothing yet, and then
				if err := prune(t.Context(), explained, now); err != nil {
					t.Fatal(err)
				}
				ids := []uuid.UUID{{1}, {2}, uuid.Must(uuid.NewV7())}
				if _, err := known(t.Context(), explained, "order", ids); err != nil {
					t.Fatal(err)
				}
				if _, err := explained.Exec(t.Context(), insertRows, ids, "order"); err != nil {
					t.Fatal(err)
				}
				if _, err := in.GetParked(t.Context(), uuid.Max); err == nil {
					t.Fatal("a parked event out of nowhere")
				}
				pgtest.Fill(t, pool,
					`insert into inbox (event_id, consumer, handled_at) select gen_random_uuid(), 'order', now() - interval '20 days' from generate_series(1, 50000)`,
					`insert into parked (consumer, event_id, topic, cause, attempts, traceparent, payload) select 'order', gen_random_uuid(), 'order.confirmed', 'cause', 1, '', '{}' from generate_series(1, 10000)`)
			}
			plans.Check(t, "inbox_default_by_time", "parked_pkey")
		})
	}
}
