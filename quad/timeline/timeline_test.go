package timeline

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/events"
	"quadrille.internal/platform/pgtest"
)

func exec(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestRead(t *testing.T) {
	open := func(service string) *pgxpool.Pool { return pgtest.Open(t, os.DirFS("../../services/"+service)) }
	src := Sources{Checkout: open("checkout"), Inventory: open("inventory"), Payment: open("payment"), Order: open("order")}
	id, began := uuid.New(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }

	if _, err := Read(t.Context(), src, id); !errors.Is(err, ErrUnknown) {
		t.Errorf("of an order nobody knows the error is %v", err)
	}

	exec(t, src.Checkout, `insert into checkouts values ($1, 'k', '', 'c1', '[{"sku": "A", "quantity": 2, "unit_price": 125}]', 250, 'GBP',
		'00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', 'placed', null, $2, null, 1)`, id, at(0))
	exec(t, src.Inventory, `insert into reservations values ($1, 'held', '', '[{"sku": "A", "warehouse": "leeds", "quantity": 2}]', '', $2, $3, null, null, 1)`,
		id, at(10), at(900_000))
	exec(t, src.Order, `insert into orders (id, status, amount, currency, traceparent, placed_at, reserved_at, version)
		values ($1, 'pending', 250, 'GBP', '', $2, $3, 1)`, id, at(0), at(10))
	exec(t, src.Payment, `insert into payments values ($1, 'charging', 250, 'GBP', 'tok_flaky', '', false, '', '', null, 2, 'status 500', $2, $3, null, null, 1)`,
		id, at(400), at(20))
	story(t, src, id, false, "checkout accepted", "inventory reserved", "payment charging", "payment will ask again")

	exec(t, src.Payment, `update payments set status = 'refused', due_at = null, refused_at = $1`, at(410))
	if found := story(t, src, id, false, "checkout accepted", "inventory reserved", "payment charging", "payment refused"); !strings.Contains(found.WaitsFor, "operator") {
		t.Errorf("a refused payment's order waits for %q", found.WaitsFor)
	}
	exec(t, src.Payment, `update payments set status = 'completed', refused_at = null, charge_id = 'ch_1', due_at = null, completed_at = $1`, at(420))
	exec(t, src.Order, `update orders set status = 'confirmed', paid_at = $1, settled_at = $2`, at(420), at(430))
	exec(t, src.Checkout, `update checkouts set status = 'confirmed', settled_at = $1`, at(440))
	story(t, src, id, false, "checkout accepted", "inventory reserved", "payment charging", "payment charged",
		"payment asked again", "order CONFIRMED", "checkout told confirmed")

	exec(t, src.Inventory, `insert into parked (consumer, event_id, topic, cause, attempts, traceparent, payload, tried_at)
		values ('inventory', $1, 'order.confirmed', 'no', 3, '', convert_to($2, 'UTF8'), $3)`, uuid.New(), `{"subject":"`+id.String()+`"}`, at(450))
	if found := story(t, src, id, false, "checkout accepted", "inventory reserved", "payment charging", "payment charged",
		"payment asked again", "order CONFIRMED", "checkout told confirmed", "inventory order.confirmed PARKED"); found.Parked != 1 {
		t.Errorf("%d events are said to be parked", found.Parked)
	}

	exec(t, src.Inventory, `delete from parked`)
	exec(t, src.Inventory, `update reservations set status = 'shipped', ended_at = $1`, at(460))
	found := story(t, src, id, true, "checkout accepted", "inventory reserved", "payment charging", "payment charged",
		"payment asked again", "order CONFIRMED", "checkout told confirmed", "inventory shipped")
	if found.TraceID != "4bf92f3577b34da6a3ce929d0e0e4736" || Money(found.Total) != "2.50 GBP" {
		t.Errorf("trace %q, total %s", found.TraceID, Money(found.Total))
	}
}

// A service that quad does not know tells of the order in a view of its own.
func TestOthersTellOfAnOrder(t *testing.T) {
	open := func(service string) *pgxpool.Pool { return pgtest.Open(t, os.DirFS("../../services/"+service)) }
	loyalty := pgtest.Open(t, fstest.MapFS{"migrations/00001_audit.sql": {Data: []byte(`-- +goose Up
create view audit_moments as
	select '00000000-0000-7000-8000-000000000001'::uuid as order_id, timestamptz '2026-01-02Z' as at, 'points earned' as what, '' as detail, false as bad;
`)}})
	src := Sources{
		Checkout: open("checkout"), Inventory: open("inventory"), Payment: open("payment"), Order: open("order"),
		Others: map[string]*pgxpool.Pool{"loyalty": loyalty},
	}
	id := uuid.MustParse("00000000-0000-7000-8000-000000000001")
	story(t, src, id, false, "loyalty points earned")
	exec(t, loyalty, `insert into parked (consumer, event_id, topic, cause, attempts, traceparent, payload, tried_at)
		values ('loyalty', $1, 'order.confirmed', 'no', 3, '', convert_to($2, 'UTF8'), now())`, uuid.New(), `{"subject":"`+id.String()+`"}`)
	if found := story(t, src, id, false, "loyalty points earned", "loyalty order.confirmed PARKED"); found.Parked != 1 {
		t.Errorf("%d events are said to be parked", found.Parked)
	}
}

func TestMoney(t *testing.T) {
	for want, m := range map[string]events.Money{
		"2.50 GBP": {Amount: 250, Currency: "GBP"}, "0.05 GBP": {Amount: 5, Currency: "GBP"}, "0.00 EUR": {Currency: "EUR"},
		"250 JPY": {Amount: 250, Currency: "JPY"}, "1.234 KWD": {Amount: 1234, Currency: "KWD"},
	} {
		if got := Money(m); got != want {
			t.Errorf("%+v is written %q, want %q", m, got, want)
		}
	}
}

func story(t *testing.T, src Sources, id uuid.UUID, done bool, want ...string) *Timeline {
	t.Helper()
	found, err := Read(t.Context(), src, id)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range found.Moments {
		got = append(got, m.Service+" "+m.What)
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Errorf("the story is\n%s, want\n%s", strings.Join(got, ", "), strings.Join(want, ", "))
	}
	if found.Done != done {
		t.Errorf("done is %v, want %v", found.Done, done)
	}
	return found
}
