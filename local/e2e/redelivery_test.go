package e2e

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

func TestRule1_ARedeliveryStormChangesNothing(t *testing.T) {
	const copies = 20
	s := sys
	l := s.underLoad(t, scaled(60), func() {})
	s.settles(t, l)
	before := s.snapshot(t, l.ids())
	captured := s.published(t, l.ids()...)
	duplicates := s.duplicates(t)

	broker := s.broker(t)
	s.allAtOnce(copies, func(int) {
		for _, m := range captured {
			if err := broker.publish(t.Context(), m.topic, m.payload); err != nil {
				t.Error(err)
				return
			}
		}
	})
	s.awaitDelivered(t, broker, topics...)

	// Each event has at least one consumer, so that many deliveries were repeats.
	if got, least := s.duplicates(t)-duplicates, float64(copies*len(captured)); got < least {
		t.Errorf("services passed over %v repeats, want at least %v", got, least)
	}
	after := s.snapshot(t, l.ids())
	for what, rows := range before {
		if after[what] != rows {
			t.Errorf("%s changed:\nbefore %s\nafter  %s", what, rows, after[what])
		}
	}
	s.committedOnce(t, l.ids()...)
	s.balanced(t)
}

// duplicates adds up the events that services have passed over.
func (s *system) duplicates(t *testing.T) (sum float64) {
	t.Helper()
	for _, app := range s.WithDatabase() {
		sum += s.metric(t, s.HealthURL(app), "quadrille_inbox_duplicates_total")
	}
	return sum
}

// snapshot is all that is written of orders, and of stock and money altogether.
func (s *system) snapshot(t *testing.T, ids []uuid.UUID) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	taken := map[string]string{}
	for _, look := range []struct{ app, table string }{
		{"checkout", "checkouts"}, {"order", "orders"}, {"payment", "payments"}, {"inventory", "reservations"},
	} {
		// The version counts savings, also those that change nothing else.
		taken[look.table] = s.text(ctx, t, look.app,
			`select coalesce(string_agg((to_jsonb(r) - 'version')::text, e'\n' order by id), '') from `+look.table+` r where id = any($1)`, ids)
	}
	taken["stock"] = s.text(ctx, t, "inventory", `select string_agg(s::text, e'\n' order by sku, warehouse) from stock s`)
	a := s.ask(t, "GET", s.PSPURL()+"/v1/ledger/summary", s.providerAuth(), nil)
	taken["ledger"] = string(a.body)
	return taken
}

func (s *system) text(ctx context.Context, t *testing.T, app, sql string, args ...any) string {
	t.Helper()
	rows, err := s.books.pools[app].Query(ctx, sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	text, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return text
}
