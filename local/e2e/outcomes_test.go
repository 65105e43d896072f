package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/inventory"
)

// ended is how an order is to end, with what is charged and kept for it.
type ended struct {
	outcome
	charged, kept int64
}

func confirmed(amount int64) ended {
	return ended{outcome{checkout: "confirmed", order: "confirmed", reservation: "shipped", payment: "completed"}, amount, amount}
}

func cancelled(reason, reservation, payment string, charged int64) ended {
	return ended{outcome{
		checkout: "cancelled", order: "cancelled", reservation: reservation, payment: payment,
		reason: reason, checkoutReason: reason,
	}, charged, 0}
}

// expect waits until an order is settled and checks how, in every service and in
// the provider's ledger.
func (s *system) expect(t *testing.T, id uuid.UUID, want ended) {
	t.Helper()
	got := ended{outcome: *s.awaitSettled(t, settleWithin, id)[id]}
	got.charged, got.kept = s.charged(t, id)
	if got != want {
		t.Errorf("order ended %+v, want %+v", got, want)
	}
}

func TestRule4_EveryKindOfOrderEndsTheSameInAllServices(t *testing.T) {
	const sku, units = "outcomes", 3
	s := sys
	s.setStock(t, sku, map[string]int64{"leeds": 100})
	for _, c := range []struct {
		token string
		want  ended
	}{
		{"tok_success", confirmed(750)},
		{"tok_flaky", confirmed(750)},
		{"tok_lost_reply", confirmed(750)},
		{"tok_rate_limited", confirmed(750)},
		{"tok_slow", confirmed(750)},
		{"tok_decline", cancelled(events.ReasonPaymentDeclined, "released", "failed", 0)},
		{"tok_insufficient_funds", cancelled(events.ReasonInsufficientFunds, "released", "failed", 0)},
		{"tok_unheard_of", cancelled(events.ReasonPaymentInvalid, "released", "failed", 0)},
	} {
		t.Run(c.token, func(t *testing.T) {
			before := s.stock(t, sku).Available
			id := s.mustPlace(t, basketOf(sku, units, c.token))
			s.expect(t, id, c.want)
			gone := before - s.stock(t, sku).Available
			if want := units * c.want.kept / 750; gone != want {
				t.Errorf("%d units are gone, want %d", gone, want)
			}
		})
	}
	s.balanced(t)
}

func TestRule4_ShortageIsCancelledWithAReasonACustomerCanRead(t *testing.T) {
	s := sys
	s.setStock(t, "short", map[string]int64{"leeds": 2, "york": 1})
	id := s.mustPlace(t, basketOf("short", 4, "tok_success"))
	s.expect(t, id, cancelled(events.ReasonOutOfStock, "refused", "unknown", 0))
	reason := s.order(t, id).Reason
	if want := "Only 3 of 4 of short are in stock."; reason == nil || reason.Message != want {
		t.Errorf("reason is %+v, want message %q", reason, want)
	}
	if got := s.stock(t, "short"); got.Available != 3 {
		t.Errorf("available is %d, want all 3", got.Available)
	}
}

func TestRule4_WhatNoWarehouseEverHadIsShortToo(t *testing.T) {
	id := sys.mustPlace(t, basketOf("unheard-of", 1, "tok_success"))
	sys.expect(t, id, cancelled(events.ReasonOutOfStock, "refused", "unknown", 0))
	sys.balanced(t)
}

func TestRule6_OneOrderDrawsOnSeveralWarehouses(t *testing.T) {
	s := sys
	s.setStock(t, "spread", map[string]int64{"leeds": 2, "york": 3, "hull": 1})
	s.expect(t, s.mustPlace(t, basketOf("spread", 6, "tok_success")), confirmed(1500))
	got := s.stock(t, "spread")
	if len(got.Warehouses) != 3 {
		t.Errorf("stock lies in %+v, want three warehouses", got.Warehouses)
	}
	for _, w := range got.Warehouses {
		if w.OnHand != 0 || w.Held != 0 {
			t.Errorf("%+v, want an empty warehouse", w)
		}
	}
}

func TestRule4_CustomerCancelsWhileThePaymentIsUnderWay(t *testing.T) {
	s := sys
	s.setStock(t, "changed-mind", map[string]int64{"leeds": 5})
	id, goOn := s.mustWaitForCharge(t, basketOf("changed-mind", 1, "tok_slow"))
	if ok, err := s.cancel(t.Context(), id); err != nil || !ok {
		t.Fatalf("cancel: %v, %v; want it cancelled", ok, err)
	}
	goOn()
	s.expect(t, id, cancelled(events.ReasonCustomerRequest, "released", "refunded", 250))
	s.balanced(t)
}

func TestRule4_AConfirmedOrderIsNotCancelled(t *testing.T) {
	s := sys
	s.setStock(t, "too-late", map[string]int64{"leeds": 5})
	id := s.mustPlace(t, basketOf("too-late", 1, "tok_success"))
	s.expect(t, id, confirmed(250))
	a := s.ask(t, http.MethodPost, s.orderURL(id)+"/cancel", nil, nil)
	if a.status != http.StatusConflict || !strings.Contains(string(a.body), "order_confirmed") {
		t.Errorf("answer is %d %s, want 409 order_confirmed", a.status, a.body)
	}
	s.expect(t, id, confirmed(250))
}

// A service that ships hears of customers' and companies' orders by one event, and of none
// that does not ship.
func TestWhatLeavesTheWarehouseIsAnnouncedOnce(t *testing.T) {
	s := sys
	s.setStock(t, "leaves", map[string]int64{"leeds": 4, "york": 4})
	paid := s.mustPlace(t, basketOf("leaves", 6, "tok_success"))
	s.expect(t, paid, confirmed(1500))
	declined := s.mustPlace(t, basketOf("leaves", 1, "tok_decline"))
	s.expect(t, declined, cancelled(events.ReasonPaymentDeclined, "released", "failed", 0))
	short := s.mustPlace(t, basketOf("leaves", 9, "tok_success"))
	s.expect(t, short, cancelled(events.ReasonOutOfStock, "refused", "unknown", 0))

	c := s.newCompany(t, 10_000_000, map[string]int64{"leeds": 5, "york": 5}, time.Hour)
	completed, rejected := c.mustSubmit(8, 50), c.mustSubmit(1, 20_000)
	c.awaitStatus("awaiting_approval", rejected)
	if err := c.mustCount(t.Context(), rejected, "ann", "reject"); err != nil {
		t.Fatal(err)
	}
	c.end(sagas{completed: "completed", rejected: "rejected"})
	eventually(t, settleWithin, "both shipped", func(ctx context.Context) error {
		var n int
		err := s.books.pools["inventory"].QueryRow(ctx, `select count(*) from reservations where id = any($1) and status = 'shipped'`,
			[]uuid.UUID{paid, declined, short, completed, rejected}).Scan(&n)
		if err == nil && n != 2 {
			err = fmt.Errorf("%d orders are shipped", n)
		}
		return err
	})
	s.committedOnce(t, paid, declined, short, completed, rejected)
	for _, m := range s.published(t, completed) {
		t.Errorf("%s was said of a company's order", m.topic)
	}
	s.balanced(t)
}

// Views hear of stock with its newest version, within a moment.
func TestStockLevelsArePublished(t *testing.T) {
	s := sys
	sku := "levels-" + newKey()[:8]
	s.setStock(t, sku, map[string]int64{"leeds": 5, "york": 4})
	s.expect(t, s.mustPlace(t, basketOf(sku, 6, "tok_success")), confirmed(1500))
	broker := s.broker(t)
	eventually(t, settleWithin, "level published", func(ctx context.Context) error {
		payloads, err := broker.read(ctx, inventory.TypeStockChanged)
		if err != nil {
			return err
		}
		var newest inventory.ChangedSKU
		for _, payload := range payloads {
			_, event, err := events.Decode([]byte(payload))
			if err != nil {
				return err
			}
			c, ok := event.(*inventory.StockChanged)
			if !ok {
				return fmt.Errorf("%T on the topic", event)
			}
			for _, state := range c.SKUs {
				if state.SKU == sku && state.Version > newest.Version {
					newest = state
				}
			}
		}
		if newest.Available != 3 {
			return fmt.Errorf("the newest level is %+v, want 3 available", newest)
		}
		return nil
	})
}
