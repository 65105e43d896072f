package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/pgtx"
)

// lockShelf loads the stock of SKUs and locks it, always in the same order, so
// that two batches wait for one another instead of deadlocking.
func lockShelf(ctx context.Context, tx *pgtx.Tx, skus []string) (Shelf, error) {
	return selectShelf(ctx, tx, skus, "for update")
}

func selectShelf(ctx context.Context, db aggregate.Querier, skus []string, lock string) (Shelf, error) {
	rows, err := db.Query(ctx, `
		select sku, warehouse, on_hand, held, moves from stock
		where sku = any($1) order by sku, warehouse `+lock, skus)
	if err != nil {
		return nil, fmt.Errorf("load stock: %w", err)
	}
	list, err := pgtx.Collect(rows, pgx.RowToAddrOfStructByPos[Stock])
	if err != nil {
		return nil, fmt.Errorf("load stock: %w", err)
	}
	shelf := make(Shelf, len(skus))
	for _, s := range list {
		shelf[s.SKU] = append(shelf[s.SKU], s)
	}
	return shelf, nil
}

// saveShelf writes stock that is locked, with the commit.
func saveShelf(tx *pgtx.Tx, shelf Shelf) error {
	var all []*Stock
	for _, stocks := range shelf {
		all = append(all, stocks...)
	}
	if len(all) == 0 {
		return nil // the batch is about no stock, or about SKUs that no warehouse has
	}
	rows, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("save stock: %w", err)
	}
	tx.Last(`
		update stock s set on_hand = n.on_hand, held = n.held, moves = s.moves + (s.on_hand <> n.on_hand)::int,
			revision = s.revision + 1
		from json_populate_recordset(null::stock, $1) n
		where s.sku = n.sku and s.warehouse = n.warehouse
		  and (s.on_hand, s.held) <> (n.on_hand, n.held)`, rows)
	return nil
}

var errNoStock = errors.New("no such stock")

// getStock returns a SKU's stock in all warehouses, or errNoStock.
func getStock(ctx context.Context, pool *pgxpool.Pool, sku string) ([]*Stock, error) {
	shelf, err := selectShelf(ctx, pool, []string{sku}, "")
	if err != nil {
		return nil, err
	}
	if len(shelf[sku]) == 0 {
		return nil, errNoStock
	}
	return shelf[sku], nil
}
