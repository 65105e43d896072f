package cart

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/outbox"
)

// trips counts what is sent to the database: statements alone, and batches.
type trips struct{ atomic.Int64 }

func (n *trips) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	n.Add(1)
	return ctx
}

func (*trips) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (n *trips) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	n.Add(1)
	return ctx
}

func (*trips) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

func (*trips) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// A visit to the shop reads and changes its cart several times, and waiting for the database
// is most of what that costs.
func TestRoundTrips(t *testing.T) {
	f := newFixture(t)
	made := &trips{}
	config := f.kit.Pool.Config()
	config.ConnConfig.Tracer = made
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	f.kit.Pool = pool
	f.kit.Outbox = outbox.New(outbox.Config{Source: "cart", Emits: Service().Emits, Pool: pool, Log: f.kit.Log})
	customer := f.customer(t, f.serve(t), "ann")
	for _, c := range []struct {
		name string
		do   func()
		want int64
	}{
		{"a line", func() { decoded[view](t, customer.put("tea", "2"), http.StatusOK) }, 2},
		{"the same line again", func() { decoded[view](t, customer.put("tea", "2"), http.StatusOK) }, 2},
		{"the cart", func() { customer.lines() }, 1},
		{"the customer's cart", func() { f.customer(t, customer.api, "ann") }, 2},
	} {
		made.Store(0)
		c.do()
		if got := made.Load(); got != c.want {
			t.Errorf("%s: %d round trips, want %d", c.name, got, c.want)
		}
	}
}
