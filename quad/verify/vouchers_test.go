package verify

import (
	"os"
	"slices"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/platform/pgtest"
)

// What price has of a voucher goes with how its order ended, no matter which of the two is wrong.
func TestVouchersFollowTheirOrders(t *testing.T) {
	w := newWorld(t)
	prices := pgtest.Open(t, os.DirFS("../../services/price"))
	uses := func(code, status string, order uuid.UUID) {
		ended := "now()"
		if status == "held" {
			ended = "null"
		}
		w.exec(prices, `insert into voucher_uses (order_id, code, quote_id, status, held_at, ask_at, ended_at)
			values ($1, $2, $1, $3, now(), now(), `+ended+`)`, order, code, status)
	}
	with := func(code string, order uuid.UUID) {
		w.exec(w.checkout, `update checkouts set quote = jsonb_build_object('voucher', $2::text) where id = $1`, order, code)
	}
	for _, c := range []struct {
		name  string
		books func()
		wrong []uuid.UUID
	}{
		{"all agree", func() {}, nil},
		{"a confirmed order's is only held", func() {
			w.exec(prices, `update voucher_uses set status = 'held', ended_at = null where order_id = $1`, confirmed)
		}, []uuid.UUID{confirmed}},
		{"a confirmed order's is given back", func() { w.exec(prices, `update voucher_uses set status = 'cancelled' where order_id = $1`, confirmed) }, []uuid.UUID{confirmed}},
		{"price knows nothing of it", func() { w.exec(prices, `delete from voucher_uses where order_id = $1`, confirmed) }, []uuid.UUID{confirmed}},
		{"it is another one", func() { w.exec(prices, `update voucher_uses set code = 'OTHER' where order_id = $1`, confirmed) }, []uuid.UUID{confirmed}},
		{"a cancelled order's is redeemed", func() { w.exec(prices, `update voucher_uses set status = 'redeemed' where order_id = $1`, declined) }, []uuid.UUID{declined}},
		{"one is redeemed for nobody", func() { uses("SPRING", "redeemed", stranger) }, []uuid.UUID{stranger}},
		{"one is redeemed for an order without", func() {
			uses("SPRING", "redeemed", refunded)
			w.exec(w.checkout, `update checkouts set status = 'confirmed' where id = $1`, refunded)
		}, []uuid.UUID{refunded}},
		{"one is held for an order that may yet come", func() { uses("SPRING", "held", stranger) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.t = t
			w.reset()
			w.exec(prices, `delete from voucher_uses`)
			w.exec(prices, `insert into vouchers (code, max_uses) values ('SPRING', 9), ('OTHER', 9) on conflict do nothing`)
			with("SPRING", confirmed)
			with("SPRING", declined)
			with("SPRING", underWay)
			uses("SPRING", "redeemed", confirmed)
			uses("SPRING", "cancelled", declined)
			uses("SPRING", "held", underWay)
			c.books()
			src := w.sources()
			src.Databases["price"] = w.auditor(prices)
			report := w.verify(src)
			var found []string
			for _, id := range c.wrong {
				found = append(found, id.String())
			}
			if got := broken(report)[voucherRule]; !slices.Equal(got, found) {
				t.Errorf("found %q, want %q:\n%s", got, found, report.String())
			}
		})
	}
}
