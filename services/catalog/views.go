package catalog

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"

	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
	"quadrille.internal/platform/snapshot"
	"quadrille.internal/platform/sweep"
)

const (
	// viewsEvery is how often the copies are compared with their owners, beside once at the
	// start: what an event told is there already, and what was missed comes then.
	viewsEvery   = time.Hour
	viewsRetry   = 10 * time.Second
	viewsTimeout = 5 * time.Minute
	callTimeout  = 5 * time.Second
)

// loader reads what owners have to tell from the beginning.
type loader struct {
	pool   *pgxpool.Pool
	stock  inventoryv1.StockSnapshotClient
	log    *slog.Logger
	loaded time.Time
}

func newLoader(pool *pgxpool.Pool, calls func(string) grpc.ClientConnInterface, log *slog.Logger) *loader {
	return &loader{pool: pool, stock: inventoryv1.NewStockSnapshotClient(calls("inventory")), log: log}
}

func (l *loader) run(ctx context.Context) error {
	return sweep.New(sweep.Config{Name: "copies of stock", Every: viewsRetry, Timeout: viewsTimeout, Log: l.log}, l.load).Run(ctx)
}

func (l *loader) load(ctx context.Context) (more bool, err error) {
	if time.Since(l.loaded) < viewsEvery {
		return false, nil
	}
	if err := stockView.Load(ctx, l.pool, l.stockPage); err != nil {
		return false, err
	}
	l.loaded = time.Now()
	return false, nil
}

func (l *loader) stockPage(ctx context.Context, token string) ([]snapshot.State[stock], string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := l.stock.ListStock(ctx, &inventoryv1.ListStockRequest{PageToken: token})
	if err != nil {
		return nil, "", err
	}
	states := make([]snapshot.State[stock], len(answer.GetItems()))
	for i, item := range answer.GetItems() {
		states[i] = stockState(item.GetSku(), item.GetVersion(), item.GetAvailable())
	}
	return states, answer.GetNextPageToken(), nil
}
