package e2e

import (
	"syscall"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/events"
)

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
				s.awaitFact(t, id, events.TypeInventoryReserved)
			}
			for _, id := range ids {
				if ok, err := s.cancel(t.Context(), id); !ok || err != nil {
					t.Fatalf("cancel %s: %v %v", id, ok, err)
				}
			}
			c.end(t)
			for _, id := range ids {
				s.expect(t, id, cancelled(events.ReasonCustomerRequest, "released", "void", 0))
			}
			s.balanced(t)
		})
	}
}
