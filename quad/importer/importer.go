// Package importer feeds sales to Quadrille: it sets stock for them, places their
// orders and follows these to their end.
package importer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"quadrille.internal/quad/api"
	"quadrille.internal/quad/retail"
	order "quadrille.internal/services/order/audit"
)

// Currency of the Online Retail format.
const Currency = "GBP"

// Importer places orders, several at once.
type Importer struct {
	Client      *api.Client
	Orders      *pgxpool.Pool // the order service's database, to be read only
	Token       string        // of the means of payment, for all orders
	Concurrency int
	// Advance is told of each thing done; it may be called from several goroutines.
	Advance func()
}

// Restock sets stock so that all that is demanded can be served: demand and
// nothing more is available in the end, spread over warehouses.
func (in *Importer) Restock(ctx context.Context, demand map[string]int64) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(in.Concurrency)
	for sku, units := range demand {
		group.Go(func() error {
			defer in.Advance()
			if err := in.restock(ctx, sku, units); err != nil {
				return fmt.Errorf("set stock of %s: %w", sku, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// restock counts what orders hold already on top: it is not for sale.
func (in *Importer) restock(ctx context.Context, sku string, units int64) error {
	spread := retail.Spread(sku, units)
	stock, err := in.setStock(ctx, sku, spread)
	held := api.IsProblem(err, "stock_below_held")
	if held {
		stock, err = in.Client.Stock(ctx, sku)
	}
	if err != nil || !held && stock.Available >= units {
		return err
	}
	for _, w := range stock.Warehouses {
		if _, ours := spread[w.Warehouse]; ours {
			spread[w.Warehouse] += w.Held
		}
	}
	_, err = in.setStock(ctx, sku, spread)
	return err
}

func (in *Importer) setStock(ctx context.Context, sku string, spread map[string]int64) (api.Stock, error) {
	var counts []api.Count
	for warehouse, units := range spread {
		counts = append(counts, api.Count{Warehouse: warehouse, OnHand: units})
	}
	return in.Client.ForceStock(ctx, sku, counts)
}

// Placed is what became of placing.
type Placed struct {
	IDs []uuid.UUID
	// Before counts those that an earlier run had placed.
	Before  int
	Refused []Refusal
}

// Refusal is an order that was not taken.
type Refusal struct {
	Invoice string `json:"invoice"`
	Cause   string `json:"cause"`
}

// Place places orders. An order that is refused is noted; a service that does not
// answer is an error, after which the same call may be made again.
func (in *Importer) Place(ctx context.Context, orders []retail.Order) (Placed, error) {
	began := time.Now()
	var mu sync.Mutex
	var placed Placed
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(in.Concurrency)
	for _, o := range orders {
		group.Go(func() error {
			defer in.Advance()
			receipt, err := in.Client.Place(ctx, o.Key, api.NewOrder{
				CustomerID: o.Customer, Currency: Currency, PaymentToken: in.Token, Lines: o.Lines,
			})
			mu.Lock()
			defer mu.Unlock()
			if problem, ok := errors.AsType[*api.Problem](err); ok && problem.Status < 500 {
				placed.Refused = append(placed.Refused, Refusal{o.Invoice, cause(problem)})
				return nil
			}
			if err != nil {
				return fmt.Errorf("place the order of invoice %s: %w", o.Invoice, err)
			}
			placed.IDs = append(placed.IDs, receipt.OrderID)
			if receipt.PlacedAt.Before(began) {
				placed.Before++
			}
			return nil
		})
	}
	return placed, group.Wait()
}

func cause(p *api.Problem) string {
	if p.Code == "idempotency_mismatch" {
		return "it was placed before with another --token"
	}
	return p.Error()
}

const askEvery = 200 * time.Millisecond

// Await waits until orders are settled, or the time is over, and returns how they
// ended and what the others wait for.
func (in *Importer) Await(ctx context.Context, ids []uuid.UUID, wait time.Duration) (ends []order.End, waiting map[string]int, err error) {
	left := make(map[uuid.UUID]struct{}, len(ids))
	for _, id := range ids {
		left[id] = struct{}{}
	}
	for deadline := time.Now().Add(wait); ; {
		settled, err := order.Ends(ctx, in.Orders, keys(left))
		if err != nil {
			return nil, nil, fmt.Errorf("ask for settled orders: %w", err)
		}
		for _, end := range settled {
			delete(left, end.ID)
			in.Advance()
		}
		ends = append(ends, settled...)
		if len(left) == 0 {
			return ends, nil, nil
		}
		if time.Now().After(deadline) {
			break
		}
		select {
		case <-ctx.Done():
			return ends, nil, ctx.Err()
		case <-time.After(askEvery):
		}
	}
	if waiting, err = order.Waiting(ctx, in.Orders, keys(left)); err != nil {
		return ends, nil, fmt.Errorf("ask for orders that wait: %w", err)
	}
	return ends, waiting, nil
}

func keys(set map[uuid.UUID]struct{}) []uuid.UUID {
	ids := make([]uuid.UUID, 0, len(set))
	for id := range set {
		ids = append(ids, id)
	}
	return ids
}
