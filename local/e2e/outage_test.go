package e2e

import (
	"context"
	"fmt"
	"strconv"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/inventory"
)

// awaitHeard waits until payment knows that orders are cancelled: one that it charges
// before is charged rightly, and refunded.
func (s *system) awaitHeard(t *testing.T, ids []uuid.UUID) {
	t.Helper()
	const sql = `select count(*) filter (where cancelled)::text from payments where id = any($1)`
	want := strconv.Itoa(len(ids))
	eventually(t, soon, "payment hears of every cancellation", func(ctx context.Context) error {
		if n := s.text(ctx, t, "payment", sql, ids); n != want {
			return fmt.Errorf("it has heard of %s of %s", n, want)
		}
		return nil
	})
}

// Orders are placed and cancelled while the payment provider is away; it comes back.
// Nobody is charged, to be refunded or not.
func TestRule7_CancelledWhileTheProviderIsAwayNobodyIsCharged(t *testing.T) {
	const orders = 40
	s := sys
	s.setStock(t, "outage", map[string]int64{"leeds": 10 * orders})
	for _, c := range []struct {
		name       string
		leave, end func(t *testing.T)
	}{
		{"not reached",
			func(t *testing.T) { s.end(t, "psp", syscall.SIGTERM) },
			func(t *testing.T) { s.revive(t) }},
		{"asked in vain, and payment killed",
			func(t *testing.T) { s.providerMode(t, "down", 0) },
			func(t *testing.T) { s.kill(t, "payment"); s.revive(t); s.providerMode(t, "ok", 0) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.leave(t)
			ids := make([]uuid.UUID, orders)
			for i := range ids {
				ids[i] = s.mustPlace(t, basketOf("outage", 1, "tok_success"))
			}
			for _, id := range ids {
				s.awaitFact(t, id, inventory.TypeReserved)
			}
			for _, id := range ids {
				if ok, err := s.cancel(t.Context(), id); !ok || err != nil {
					t.Fatalf("cancel %s: %v %v", id, ok, err)
				}
			}
			s.awaitHeard(t, ids)
			c.end(t)
			for _, id := range ids {
				s.expect(t, id, cancelled(events.ReasonCustomerRequest, "released", "void", 0))
			}
			s.balanced(t)
		})
	}
}
