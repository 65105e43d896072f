package bench

import (
	"context"
	"fmt"
	"net/http"

	"golang.org/x/sync/errgroup"
)

// stockUp puts on sale what the scenario needs, through the inventory service's
// API, so that the books know of it.
func stockUp(ctx context.Context, b *books, s Scenario, runID string, inventory adminPort) error {
	onSale, err := b.onSale(ctx)
	if err != nil {
		return err
	}
	deltas := map[string]int64{}
	for rank := range uint64(catalogueSize) {
		if sku := catalogueSKU(rank); onSale[sku] < plentiful/2 {
			deltas[sku] = plentiful - onSale[sku]
		}
	}
	if s.goods == hot {
		deltas[hotSKU(runID)] = s.units()
	}
	return addStock(ctx, inventory, runID, deltas)
}

func addStock(ctx context.Context, admin adminPort, runID string, deltas map[string]int64) error {
	const clerks = 8
	group, ctx := errgroup.WithContext(ctx)
	skus := make(chan string)
	for range clerks {
		group.Go(func() error {
			w := newWire(admin.addr)
			defer w.close()
			for sku := range skus {
				body := fmt.Sprintf(`{"reason":"bench","warehouses":[{"warehouse":"bench","delta":%d}]}`, deltas[sku])
				a, err := w.do(ctx, admin.request("Idempotency-Key: bench-"+runID+"\r\n", http.MethodPost, "/v1/stock/"+sku+"/adjustments", body))
				if err != nil {
					return fmt.Errorf("stock up: %w", err)
				}
				if a.status != http.StatusOK {
					return fmt.Errorf("stock up: status %d: %s", a.status, a.body)
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		defer close(skus)
		for sku := range deltas {
			select {
			case skus <- sku:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return group.Wait()
}
