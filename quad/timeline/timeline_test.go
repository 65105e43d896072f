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

	"quadrille.internal/platform/audit"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/quad/books"
)

func exec(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestRead(t *testing.T) {
	db := map[string]*pgxpool.Pool{}
	for _, service := range []string{"checkout", "inventory", "payment", "order"} {
		db[service] = pgtest.Open(t, os.DirFS("../../services/"+service))
	}
	src := Sources{Databases: db}
	id, began := uuid.New(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }

	if _, err := Read(t.Context(), src, id); !errors.Is(err, ErrUnknown) {
		t.Errorf("of an order nobody knows the error is %v", err)
	}

	exec(t, db["checkout"], `insert into checkouts values ($1, 'k', '', 'c1', '[{"sku": "A", "quantity": 2, "unit_price": 125}]', 250, 'GBP',
		'00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', 'placed', null, $2, null, 1)`, id, at(0))
	exec(t, db["inventory"], `insert into reservations values ($1, 'held', '', '[{"sku": "A", "warehouse": "leeds", "quantity": 2}]', '', $2, $3, null, null, 1)`,
		id, at(10), at(900_000))
	exec(t, db["order"], `insert into orders (id, status, amount, currency, traceparent, placed_at, reserved_at, version)
		values ($1, 'pending', 250, 'GBP', '', $2, $3, 1)`, id, at(0), at(10))
	exec(t, db["payment"], `insert into payments values ($1, 'charging', 250, 'GBP', 'tok_flaky', '', false, '', '', null, 2, 'status 500', $2, $3, null, null, 1)`,
		id, at(400), at(20))
	story(t, src, id, false, "checkout accepted", "inventory reserved", "payment charging", "payment will ask again")

	exec(t, db["payment"], `update payments set status = 'refused', due_at = null, refused_at = $1`, at(410))
	if found := story(t, src, id, false, "checkout accepted", "inventory reserved", "payment charging", "payment refused"); !strings.Contains(found.WaitsFor, "operator") {
		t.Errorf("a refused payment's order waits for %q", found.WaitsFor)
	}
	exec(t, db["payment"], `update payments set status = 'completed', refused_at = null, charge_id = 'ch_1', due_at = null, completed_at = $1`, at(420))
	exec(t, db["order"], `update orders set status = 'confirmed', paid_at = $1, settled_at = $2`, at(420), at(430))
	exec(t, db["checkout"], `update checkouts set status = 'confirmed', settled_at = $1`, at(440))
	story(t, src, id, false, "checkout accepted", "inventory reserved", "payment charging", "payment charged",
		"payment asked again", "order CONFIRMED", "checkout told confirmed")

	exec(t, db["inventory"], `insert into parked (consumer, event_id, topic, cause, attempts, traceparent, payload, tried_at)
		values ('inventory', $1, 'order.confirmed', 'no', 3, '', convert_to($2, 'UTF8'), $3)`, uuid.New(), `{"subject":"`+id.String()+`"}`, at(450))
	if found := story(t, src, id, false, "checkout accepted", "inventory reserved", "payment charging", "payment charged",
		"payment asked again", "order CONFIRMED", "checkout told confirmed", "inventory order.confirmed PARKED"); found.Parked != 1 {
		t.Errorf("%d events are said to be parked", found.Parked)
	}

	exec(t, db["inventory"], `delete from parked`)
	exec(t, db["inventory"], `update reservations set status = 'shipped', ended_at = $1`, at(460))
	found := story(t, src, id, true, "checkout accepted", "inventory reserved", "payment charging", "payment charged",
		"payment asked again", "order CONFIRMED", "checkout told confirmed", "inventory shipped")
	if found.TraceID != "4bf92f3577b34da6a3ce929d0e0e4736" || audit.Money(found.Total) != "2.50 GBP" {
		t.Errorf("trace %q, total %s", found.TraceID, audit.Money(found.Total))
	}
}

// A service that is only in the list tells of the order too, and one that is not even there
// of what it could not handle.
func TestEveryServiceTellsOfAnOrder(t *testing.T) {
	loyalty := pgtest.Open(t, fstest.MapFS{"migrations/00001_earned.sql": {Data: []byte(`-- +goose Up
create table earned (id uuid primary key, earned_at timestamptz not null);
`)}})
	unlisted := pgtest.Open(t, pgtest.None)
	src := Sources{
		Databases: map[string]*pgxpool.Pool{"loyalty": loyalty, "unlisted": unlisted},
		Services: []books.Service{{Name: "loyalty", Books: audit.Books{
			Story: audit.MomentsOf(`select earned_at as at, 'points earned' as what, '' as detail, false as bad from earned where id = $1`),
		}}},
	}
	id := uuid.New()
	exec(t, loyalty, `insert into earned (id, earned_at) values ($1, '2026-01-02Z')`, id)
	story(t, src, id, false, "loyalty points earned")
	for consumer, db := range src.Databases {
		exec(t, db, `insert into parked (consumer, event_id, topic, cause, attempts, traceparent, payload, tried_at)
			values ($4, $1, 'order.confirmed', 'no', 3, '', convert_to($2, 'UTF8'), $3)`,
			uuid.New(), `{"subject":"`+id.String()+`"}`, time.Date(2026, 1, 3, len(consumer), 0, 0, 0, time.UTC), consumer)
	}
	found := story(t, src, id, false, "loyalty points earned", "loyalty order.confirmed PARKED", "unlisted order.confirmed PARKED")
	if found.Parked != 2 {
		t.Errorf("%d events are said to be parked", found.Parked)
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
