package e2e

import (
	"slices"
	"syscall"
	"testing"

	"quadrille.internal/events"
	"quadrille.internal/events/inventory"
)

func TestRule4_AnExpiredReservationCancelsTheOrder(t *testing.T) {
	s := sys
	s.setStock(t, "expiring", map[string]int64{"leeds": 10})

	t.Run("not paid at all", func(t *testing.T) {
		if inOneProcess {
			t.Skip("payment cannot be away by itself")
		}
		s.restartWith(t, "inventory", "QUADRILLE_RESERVATION_TTL", "1s")
		s.end(t, "payment", syscall.SIGTERM)
		id := s.mustPlace(t, basketOf("expiring", 3, "tok_success"))
		s.awaitFact(t, id, inventory.TypeReleased)
		if got := s.stock(t, "expiring").Available; got != 10 {
			t.Errorf("available is %d while payment is away, want all 10 again", got)
		}
		s.revive(t)
		// Payment hears of reservation and cancellation now, in either order.
		o := *s.awaitSettled(t, settleWithin, id)[id]
		if o.reason != events.ReasonReservationExpired || !slices.Contains([]string{"void", "refunded"}, o.payment) {
			t.Errorf("order ended %+v, want %s with nothing paid", o, events.ReasonReservationExpired)
		}
		s.balanced(t)
	})
	t.Run("paid too late", func(t *testing.T) {
		id, goOn := s.mustWaitForCharge(t, basketOf("expiring", 3, "tok_slow"))
		s.asOwner(t, "inventory", `update reservations set expires_at = now() where id = '`+id.String()+`'`)
		s.awaitFact(t, id, inventory.TypeReleased)
		goOn()
		s.expect(t, id, cancelled(events.ReasonReservationExpired, "released", "refunded", 750))
		if got := s.stock(t, "expiring").Available; got != 10 {
			t.Errorf("available is %d, want all 10 again", got)
		}
		s.balanced(t)
	})
	t.Run("paid in time", func(t *testing.T) {
		s.restartWith(t, "inventory", "QUADRILLE_RESERVATION_TTL", "1m") // which is enough on a busy machine
		s.expect(t, s.mustPlace(t, basketOf("expiring", 3, "tok_success")), confirmed(750))
	})
}
