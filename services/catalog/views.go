package catalog

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"

	"quadrille.internal/events/price"
	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
	pricev1 "quadrille.internal/events/proto/price/v1"
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

// loader reads what an owner has to tell from the beginning.
type loader struct {
	name   string
	load   func(context.Context) error
	log    *slog.Logger
	loaded time.Time
}

func (l *loader) run(ctx context.Context) error {
	return sweep.New(sweep.Config{Name: l.name, Every: viewsRetry, Timeout: viewsTimeout, Log: l.log}, l.look).Run(ctx)
}

func (l *loader) look(ctx context.Context) (more bool, err error) {
	if time.Since(l.loaded) < viewsEvery {
		return false, nil
	}
	if err := l.load(ctx); err != nil {
		return false, err
	}
	l.loaded = time.Now()
	return false, nil
}

// owners answer with all that they have published.
type owners struct {
	pool   *pgxpool.Pool
	stock  inventoryv1.StockSnapshotClient
	prices pricev1.PriceSnapshotClient
}

func ownersOf(pool *pgxpool.Pool, calls func(string) grpc.ClientConnInterface) *owners {
	return &owners{pool, inventoryv1.NewStockSnapshotClient(calls("inventory")), pricev1.NewPriceSnapshotClient(calls("price"))}
}

func (o *owners) loadStock(ctx context.Context) error {
	return stockCopy.Load(ctx, o.pool, o.stockPage)
}

func (o *owners) loadPrices(ctx context.Context) error {
	return priceCopy.Load(ctx, o.pool, o.pricePage)
}

func (o *owners) stockPage(ctx context.Context, token string) ([]snapshot.State[stock], string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := o.stock.ListStock(ctx, &inventoryv1.ListStockRequest{PageToken: token})
	if err != nil {
		return nil, "", err
	}
	states := make([]snapshot.State[stock], len(answer.GetItems()))
	for i, item := range answer.GetItems() {
		states[i] = stockState(item.GetSku(), item.GetVersion(), item.GetAvailable())
	}
	return states, answer.GetNextPageToken(), nil
}

func (o *owners) pricePage(ctx context.Context, token string) ([]snapshot.State[price.Priced], string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := o.prices.ListPrices(ctx, &pricev1.ListPricesRequest{PageToken: token})
	if err != nil {
		return nil, "", err
	}
	states := make([]snapshot.State[price.Priced], len(answer.GetItems()))
	for i, item := range answer.GetItems() {
		states[i] = snapshot.State[price.Priced]{Key: item.GetSku(), Version: item.GetVersion()}
		states[i].Value.Prices = make([]price.Price, len(item.GetPrices()))
		for j, p := range item.GetPrices() {
			if states[i].Value.Prices[j], err = priceOf(p); err != nil {
				return nil, "", fmt.Errorf("price of %s: %w", item.GetSku(), err)
			}
		}
	}
	return states, answer.GetNextPageToken(), nil
}

func priceOf(p *pricev1.CurrencyPrice) (price.Price, error) {
	found := price.Price{Currency: p.GetCurrency(), Amount: p.GetAmount(), ListPrice: p.GetListPrice()}
	var err error
	if found.ValidFrom, err = time.Parse(time.RFC3339Nano, p.GetValidFrom()); err != nil {
		return found, err
	}
	if p.GetValidUntil() != "" {
		until, err := time.Parse(time.RFC3339Nano, p.GetValidUntil())
		if err != nil {
			return found, err
		}
		found.ValidUntil = &until
	}
	return found, nil
}
