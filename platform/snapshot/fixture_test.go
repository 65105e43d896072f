package snapshot_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"quadrille.internal/events"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/platform/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// priced tells what an article costs.
type priced struct {
	Article string `json:"article"`
	Version int64  `json:"version"`
	Gone    bool   `json:"gone"`
	price
}

type price struct {
	Pence int64 `json:"pence"`
}

func (priced) Type() string      { return "shop.priced" }
func (p priced) Subject() string { return p.Article }
func (p priced) Key() string     { return p.Article }
func (p priced) Validate() error {
	if p.Article == "" || p.Version < 1 {
		return errors.New("article and version are required")
	}
	return nil
}

var _ = events.Register("shop", "article", priced{Article: "a", Version: 1})

// tables are the owner's articles and what it publishes of them, and a consumer's view.
const tables = `-- +goose Up
create table articles (name text primary key, pence bigint not null);
create table prices (key text primary key, version bigint not null, deleted boolean not null, value jsonb);
create table prices_changes (id bigint generated always as identity primary key, key text not null);
create table seen (key text primary key, version bigint not null, deleted boolean not null, value jsonb);
`

// shop owns articles, and has a consumer of their prices beside it.
type shop struct {
	*snapshot.Source[price]
	pool   *pgxpool.Pool
	outbox *outbox.Outbox
	seen   *snapshot.View[price]
}

func newShop(t testing.TB) *shop {
	t.Helper()
	pool := pgtest.Open(t, fstest.MapFS{"migrations/00001_shop.sql": {Data: []byte(tables)}})
	return &shop{
		Source: &snapshot.Source[price]{Table: "prices", Read: readPrices, Event: func(states []snapshot.State[price]) events.Event {
			s := states[0]
			return &priced{Article: s.Key, Version: s.Version, Gone: s.Deleted, price: s.Value}
		}},
		pool: pool, seen: snapshot.NewView[price]("seen"),
		outbox: outbox.New(outbox.Config{Source: "shop", Emits: []string{"shop.priced"}, Pool: pool, Log: slog.New(slog.DiscardHandler)}),
	}
}

func readPrices(ctx context.Context, db aggregate.Querier, keys []string) (map[string]price, error) {
	rows, err := db.Query(ctx, `select name, pence from articles where name = any($1)`, keys)
	if err != nil {
		return nil, err
	}
	found := make(map[string]price)
	var name string
	var p price
	_, err = pgx.ForEachRow(rows, []any{&name, &p.Pence}, func() error { found[name] = p; return nil })
	return found, err
}

// set gives an article a price, or takes it out of sale where pence is 0.
func (s *shop) set(t failer, article string, pence int64) {
	t.Helper()
	err := pgtx.RunPiped(context.Background(), s.pool, func(_ context.Context, tx *pgtx.Tx) error {
		tx.Last(`insert into prices_changes (key) values ($1)`, article)
		if pence == 0 {
			tx.Last(`delete from articles where name = $1`, article)
			return nil
		}
		tx.Last(`insert into articles (name, pence) values ($1, $2) on conflict (name) do update set pence = excluded.pence`, article, pence)
		return nil
	})
	if err != nil {
		t.Fatalf("set %s: %v", article, err)
	}
}

// failer is a test, or a case of rapid.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func (s *shop) empty(t failer) {
	t.Helper()
	for _, table := range []string{"articles", "prices", "prices_changes", "seen", "outbox"} {
		if _, err := s.pool.Exec(context.Background(), `delete from `+table); err != nil {
			t.Fatalf("empty %s: %v", table, err)
		}
	}
}

// sweepAll publishes until no mark is left.
func (s *shop) sweepAll(t failer) {
	t.Helper()
	for n := 1; n > 0; {
		var err error
		if n, err = s.Sweep(context.Background(), s.outbox); err != nil {
			t.Fatalf("%v", err)
		}
	}
}

// emitted are the states that were published, oldest first.
func (s *shop) emitted(t testing.TB) (states []snapshot.State[price]) {
	t.Helper()
	for _, e := range servicetest.Emitted(t, s.pool)[uuid.Nil] {
		p, ok := e.(*priced)
		if !ok {
			t.Fatalf("emitted %T", e)
		}
		states = append(states, snapshot.State[price]{Key: p.Article, Version: p.Version, Deleted: p.Gone, Value: p.price})
	}
	return states
}

func (s *shop) apply(t failer, states ...snapshot.State[price]) {
	t.Helper()
	if err := pgtx.RunPiped(context.Background(), s.pool, func(_ context.Context, tx *pgtx.Tx) error { return s.seen.Apply(tx, states...) }); err != nil {
		t.Fatalf("apply: %v", err)
	}
}

// prices returns what a statement says that articles cost.
func (s *shop) prices(t failer, sql string) map[string]int64 {
	t.Helper()
	rows, err := s.pool.Query(context.Background(), sql)
	if err != nil {
		t.Fatalf("%v", err)
	}
	found := make(map[string]int64)
	var name string
	var pence int64
	if _, err := pgx.ForEachRow(rows, []any{&name, &pence}, func() error { found[strings.Clone(name)] = pence; return nil }); err != nil {
		t.Fatalf("%v", err)
	}
	return found
}

func (s *shop) truth(t failer) map[string]int64 {
	return s.prices(t, `select name, pence from articles`)
}

func (s *shop) viewed(t failer) map[string]int64 {
	return s.prices(t, `select key, (value->>'pence')::bigint from seen where not deleted`)
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
