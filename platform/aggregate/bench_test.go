package aggregate_test

import (
	"context"
	"fmt"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/pgtx"
)

var benched = fstest.MapFS{"migrations/00001_parcels.sql": {Data: []byte(`-- +goose Up
create table parcels (
    id uuid primary key, version bigint not null, status text not null, customer_id text, lines jsonb not null,
    amount bigint not null, currency text not null, traceparent text not null,
    placed_at timestamptz, packed_at timestamptz, sent_at timestamptz, ended_at timestamptz
) with (fillfactor = 60);
`)}}

type parcel struct {
	aggregate.Row
	Status      string     `json:"status"`
	CustomerID  *string    `json:"customer_id"`
	Lines       []position `json:"lines"`
	Amount      int64      `json:"amount"`
	Currency    string     `json:"currency"`
	TraceParent string     `json:"traceparent"`
	PlacedAt    *time.Time `json:"placed_at"`
	PackedAt    *time.Time `json:"packed_at"`
	SentAt      *time.Time `json:"sent_at"`
	EndedAt     *time.Time `json:"ended_at"`
}

type position struct {
	SKU       string `json:"sku"`
	Quantity  int64  `json:"quantity"`
	UnitPrice int64  `json:"unit_price"`
}

var parcels = aggregate.NewTable[parcel, uuid.UUID]("parcels")

// BenchmarkSave loads and saves a batch as a handler does, of which each event has
// changed its row, one in ten has, or none.
func BenchmarkSave(b *testing.B) {
	const batch = 100
	pool := pgtest.Open(b, benched)
	ids := make([]uuid.UUID, batch)
	fresh := make(map[uuid.UUID]*parcel, batch)
	for i := range ids {
		id, now, customer := uuid.New(), time.Now().UTC().Truncate(time.Microsecond), "17850"
		ids[i] = id
		fresh[id] = &parcel{
			Row: aggregate.Row{ID: id}, Status: "pending", CustomerID: &customer, Amount: 1869, Currency: "GBP", PlacedAt: &now, PackedAt: &now,
			TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
			Lines:       []position{{"85123A", 6, 255}, {"71053", 1, 339}},
		}
	}
	saveAll := func(_ context.Context, tx *pgtx.Tx) error { return parcels.Save(tx, fresh) }
	if err := pgtx.RunPiped(b.Context(), pool, saveAll); err != nil {
		b.Fatal(err)
	}
	for _, one := range []int{1, 10, batch + 1} {
		b.Run(fmt.Sprint("one_in_", one), func(b *testing.B) {
			before := walPosition(b, pool)
			for n := 0; b.Loop(); n++ {
				err := pgtx.RunPiped(b.Context(), pool, func(ctx context.Context, tx *pgtx.Tx) error {
					found, err := parcels.Load(ctx, tx, ids)
					if err != nil {
						return err
					}
					for i := one - 1; i < batch; i += one {
						found[ids[i]].Amount = int64(n)
					}
					return parcels.Save(tx, found)
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(walPosition(b, pool)-before)/float64(b.N), "WAL-B/op")
		})
	}
}

func walPosition(b *testing.B, pool *pgxpool.Pool) (position int64) {
	b.Helper()
	err := pool.QueryRow(b.Context(), `select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint`).Scan(&position)
	if err != nil {
		b.Fatal(err)
	}
	return position
}
