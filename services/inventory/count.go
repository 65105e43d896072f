package inventory

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/idempotency"
	"quadrille.internal/platform/pgtx"
)

// precondition says of which state a count was made. Without one a count would undo
// what was shipped after somebody counted, and sell goods that are not there.
type precondition struct {
	// version is the Version of the SKU as it was read.
	version string
	// absent: none of the warehouses has had the SKU.
	absent bool
}

// check compares the locked stocks of a SKU, of which so many of the named ones were
// only just added, with the state that the count was made of. The zero precondition
// takes any.
func (p precondition) check(stocks []*Stock, added map[place]bool, named int) error {
	var before []*Stock
	for _, st := range stocks {
		if !added[place{st.SKU, st.Warehouse}] {
			before = append(before, st)
		}
	}
	switch {
	case p.absent && len(added) == named, p.version != "" && p.version == Version(before), p == precondition{}:
		return nil
	case p.absent:
		return fault.New(fault.PreconditionFailed, "stock_exists", "One of the warehouses has had this SKU; read its stock and send If-Match.")
	default:
		return fault.New(fault.PreconditionFailed, "stock_moved", "Stock of this SKU was shipped, counted or adjusted since it was read; read it and count again.")
	}
}

// place is where a SKU lies.
type place struct{ sku, warehouse string }

// setStock sets what lies in warehouses, and enters the differences in the books.
// Less than orders hold is refused.
func setStock(ctx context.Context, pool *pgxpool.Pool, counts []Stock, p precondition) error {
	err := pgtx.RunPiped(ctx, pool, func(ctx context.Context, tx *pgtx.Tx) error {
		added, err := addStock(ctx, tx, counts)
		if err != nil {
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
		if err := p.check(shelf[counts[0].SKU], added, len(counts)); err != nil {
			return err
		}
		if err := book(tx, shelf.Count(counts)); err != nil {
			return err
		}
		return saveShelf(tx, shelf)
	})
	return stockFault("set stock", err)
}

// adjust adds to what lies in warehouses, or takes away from it, once for each
// idempotency key of the SKU. It takes no precondition: a difference is right
// whatever is shipped meanwhile.
func adjust(ctx context.Context, pool *pgxpool.Pool, moved []Movement) error {
	err := idempotency.Once("stock_movements_once", func() error { return adjustOnce(ctx, pool, moved) })
	return stockFault("adjust stock", err)
}

func adjustOnce(ctx context.Context, pool *pgxpool.Pool, moved []Movement) error {
	return pgtx.RunPiped(ctx, pool, func(ctx context.Context, tx *pgtx.Tx) error {
		var stocks []Stock
		for _, m := range moved {
			stocks = append(stocks, Stock{SKU: m.SKU, Warehouse: m.Warehouse})
		}
		if _, err := addStock(ctx, tx, stocks); err != nil {
			return err
		}
		shelf, err := lockShelf(ctx, tx, []string{moved[0].SKU})
		if err != nil {
			return err
		}
		if repeated, err := adjusted(ctx, tx, moved); repeated || err != nil {
			return err
		}
		shelf.Move(moved)
		if err := book(tx, moved); err != nil {
			return err
		}
		return saveShelf(tx, shelf)
	})
}

// adjusted reports whether an adjustment was made before. Its key must not have been
// used for another.
func adjusted(ctx context.Context, tx *pgtx.Tx, moved []Movement) (bool, error) {
	rows, err := tx.Query(ctx, `
		select sku, warehouse, delta, reason, adjustment_key, adjustment_line from stock_movements
		where sku = $1 and adjustment_key = $2 order by adjustment_line`, moved[0].SKU, moved[0].Key)
	if err != nil {
		return false, fmt.Errorf("find adjustment: %w", err)
	}
	earlier, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Movement])
	if err != nil {
		return false, fmt.Errorf("find adjustment: %w", err)
	}
	same := slices.EqualFunc(earlier, moved, func(a, b Movement) bool {
		return a.Warehouse == b.Warehouse && a.Delta == b.Delta && a.Reason == b.Reason
	})
	return same, idempotency.Check(same || len(earlier) == 0)
}

func stockFault(step string, err error) error {
	if pgtx.Violates(err, "never_oversold") {
		return &fault.Fault{Kind: fault.Conflict, Code: "stock_below_held", Field: "warehouses", Cause: err,
			Message: "Orders hold more than that; wait until they are settled, or leave more."}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	return nil
}

// addStock adds those stocks that have no row yet, empty, and returns where.
func addStock(ctx context.Context, tx *pgtx.Tx, stocks []Stock) (map[place]bool, error) {
	rows, err := json.Marshal(stocks)
	if err != nil {
		return nil, fmt.Errorf("add stock: %w", err)
	}
	found, err := tx.Query(ctx, `
		insert into stock (sku, warehouse, on_hand)
		select sku, warehouse, 0 from json_populate_recordset(null::stock, $1) order by sku, warehouse
		on conflict do nothing
		returning sku, warehouse`, rows)
	if err != nil {
		return nil, fmt.Errorf("add stock: %w", err)
	}
	added := make(map[place]bool)
	var p place
	_, err = pgx.ForEachRow(found, []any{&p.sku, &p.warehouse}, func() error { added[p] = true; return nil })
	if err != nil {
		return nil, fmt.Errorf("add stock: %w", err)
	}
	return added, nil
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
		insert into stock_movements (sku, warehouse, delta, reason, adjustment_key, adjustment_line)
		select sku, warehouse, delta, reason, adjustment_key, adjustment_line
		from json_populate_recordset(null::stock_movements, $1)`, rows)
	return nil
}

// lines gives the movements of an adjustment their places in it, by warehouse: the
// same request in another sequence is the same.
func lines(moved []Movement, key string) {
	slices.SortFunc(moved, func(a, b Movement) int { return cmp.Compare(a.Warehouse, b.Warehouse) })
	for i := range moved {
		moved[i].Key, moved[i].Line = &key, new(i+1)
	}
}
