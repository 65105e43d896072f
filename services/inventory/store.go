package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/pgtx"
)

// lockShelf loads the stock of SKUs and locks it, always in the same order, so
// that two batches wait for one another instead of deadlocking.
func lockShelf(ctx context.Context, tx *pgtx.Tx, skus []string) (Shelf, error) {
	return selectShelf(ctx, tx, skus, "for update")
}

func selectShelf(ctx context.Context, db aggregate.Querier, skus []string, lock string) (Shelf, error) {
	rows, err := db.Query(ctx, `
		select sku, warehouse, on_hand, held from stock
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
		update stock s set on_hand = n.on_hand, held = n.held
		from json_populate_recordset(null::stock, $1) n
		where s.sku = n.sku and s.warehouse = n.warehouse
		  and (s.on_hand, s.held) <> (n.on_hand, n.held)`, rows)
	return nil
}

// setStock sets what lies in warehouses, and enters the differences in the books.
// Less than orders hold is refused.
func setStock(ctx context.Context, pool *pgxpool.Pool, counts []Stock) error {
	err := pgtx.RunPiped(ctx, pool, func(ctx context.Context, tx *pgtx.Tx) error {
		if err := addStock(ctx, tx, counts); err != nil {
			return err
		}
		var skus []string
		for _, c := range counts {
			skus = append(skus, c.SKU)
		}
		shelf, err := lockShelf(ctx, tx, skus)
		if err != nil {
			return err
		}
		if err := book(tx, shelf.Count(counts)); err != nil {
			return err
		}
		return saveShelf(tx, shelf)
	})
	if pgtx.Violates(err, "never_oversold") {
		return &fault.Fault{Kind: fault.Conflict, Code: "stock_below_held", Field: "warehouses", Cause: err,
			Message: "Orders hold more than that; wait until they are settled, or set a higher count."}
	}
	if err != nil {
		return fmt.Errorf("set stock: %w", err)
	}
	return nil
}

// addStock adds those stocks that have no row yet, empty.
func addStock(ctx context.Context, tx *pgtx.Tx, stocks []Stock) error {
	rows, err := json.Marshal(stocks)
	if err != nil {
		return fmt.Errorf("add stock: %w", err)
	}
	_, err = tx.Exec(ctx, `
		insert into stock (sku, warehouse, on_hand)
		select sku, warehouse, 0 from json_populate_recordset(null::stock, $1) order by sku, warehouse
		on conflict do nothing`, rows)
	if err != nil {
		return fmt.Errorf("add stock: %w", err)
	}
	return nil
}

// book enters movements of stock that no order caused, with the commit.
func book(tx *pgtx.Tx, moved []Movement) error {
	if len(moved) == 0 {
		return nil
	}
	rows, err := json.Marshal(moved)
	if err != nil {
		return fmt.Errorf("book movements: %w", err)
	}
	tx.Last(`
		insert into stock_movements (sku, warehouse, delta)
		select sku, warehouse, delta from json_populate_recordset(null::stock_movements, $1)`, rows)
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
