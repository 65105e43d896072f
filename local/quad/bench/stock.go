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
	counts := map[string]int64{}
	for rank := range uint64(catalogueSize) {
		if sku := catalogueSKU(rank); onSale[sku] < plentiful/2 {
			counts[sku] = plentiful
		}
	}
	if s.goods == hot {
		counts[hotSKU(runID)] = s.units()
	}
	return putStock(ctx, inventory, counts)
}

func putStock(ctx context.Context, admin adminPort, counts map[string]int64) error {
	const clerks = 8
	group, ctx := errgroup.WithContext(ctx)
	skus := make(chan string)
	for range clerks {
		group.Go(func() error {
			w := newWire(admin.addr)
			defer w.close()
			for sku := range skus {
				body := fmt.Sprintf(`{"warehouses":[{"warehouse":"bench","on_hand":%d}]}`, counts[sku])
				a, err := w.do(ctx, admin.put("/v1/stock/"+sku, body))
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
		for sku := range counts {
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
