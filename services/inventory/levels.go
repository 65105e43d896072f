package inventory

import (
	"context"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"

	"quadrille.internal/events"
	"quadrille.internal/events/inventory"
	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/snapshot"
)

// levels publishes what orders may have of each SKU. A trigger marks the SKUs of which that
// changed, as PublishedLevel has it (migration 00004).
var levels = &snapshot.Source[inventory.StockLevel]{
	Table:    "stock_levels",
	Read:     readLevels,
	PerEvent: inventory.MaxChangedSKUs,
	Event: func(states []snapshot.State[inventory.StockLevel]) events.Event {
		changed := make([]inventory.ChangedSKU, len(states))
		for i, s := range states {
			changed[i] = inventory.ChangedSKU{SKU: s.Key, Version: s.Version, StockLevel: s.Value}
		}
		return &inventory.StockChanged{SKUs: changed}
	},
}

// readLevels reads the stock of SKUs; none is ever taken out of the books.
func readLevels(ctx context.Context, db aggregate.Querier, skus []string) (map[string]inventory.StockLevel, error) {
	shelf, err := selectShelf(ctx, db, skus, "")
	if err != nil {
		return nil, err
	}
	found := make(map[string]inventory.StockLevel, len(shelf))
	for sku, stocks := range shelf {
		level := inventory.StockLevel{Warehouses: make([]inventory.WarehouseLevel, len(stocks))}
		for i, st := range stocks {
			published := inventory.PublishedLevel(st.Available())
			level.Available += published
			level.Warehouses[i] = inventory.WarehouseLevel{Warehouse: st.Warehouse, Available: published}
		}
		found[sku] = level
	}
	return found, nil
}

// stockSnapshot answers with all that is published; see stock.proto.
type stockSnapshot struct {
	inventoryv1.UnimplementedStockSnapshotServer
	pool *pgxpool.Pool
	log  *slog.Logger
}

func (s *stockSnapshot) register(r grpc.ServiceRegistrar) {
	inventoryv1.RegisterStockSnapshotServer(r, s)
}

// ListStock returns a page of the SKUs, by SKU.
func (s *stockSnapshot) ListStock(ctx context.Context, req *inventoryv1.ListStockRequest) (*inventoryv1.ListStockResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	states, next, err := levels.Page(ctx, s.pool, req.GetPageToken(), int(req.GetPageSize()))
	if err != nil {
		return nil, statusOf(ctx, s.log, err)
	}
	items := make([]*inventoryv1.StockItem, len(states))
	for i, st := range states {
		items[i] = &inventoryv1.StockItem{Sku: st.Key, Version: st.Version, Available: st.Value.Available}
		for _, w := range st.Value.Warehouses {
			items[i].Warehouses = append(items[i].Warehouses, &inventoryv1.WarehouseStock{Warehouse: w.Warehouse, Available: w.Available})
		}
	}
	return &inventoryv1.ListStockResponse{Items: items, NextPageToken: next}, nil
}
