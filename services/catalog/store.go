package catalog

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtx"
)

var (
	products   = aggregate.NewTable[Product, string]("products")
	categories = aggregate.NewTable[Category, string]("categories")
)

// loadTree reads all categories.
func loadTree(ctx context.Context, db aggregate.Querier) (Tree, error) {
	all, err := categories.Select(ctx, db, `order by id`)
	if err != nil {
		return nil, err
	}
	tree := make(Tree, len(all))
	for _, c := range all {
		tree[c.ID] = c
	}
	return tree, nil
}

// putCategory sets a category. Others who change the tree wait: two that are moved at the
// same time could otherwise end up below each other.
func putCategory(ctx context.Context, o *outbox.Outbox, id, name string, parent *string, p precondition) (c *Category, err error) {
	err = o.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		if _, err := tx.Exec(ctx, `lock table categories in share row exclusive mode`); err != nil {
			return fmt.Errorf("lock categories: %w", err)
		}
		tree, err := loadTree(ctx, tx)
		if err != nil {
			return err
		}
		if err := p.check(tree[id] != nil, versionOf(tree[id])); err != nil {
			return err
		}
		if _, err := tree.Put(id, name, parent); err != nil {
			return err
		}
		c = tree[id]
		return categories.Save(tx, map[string]*Category{id: c})
	})
	return c, err
}

func versionOf(c *Category) int64 {
	if c == nil {
		return 0
	}
	return c.Version
}

// shelf is what a transaction knows of some products that it is to write.
type shelf struct {
	products map[string]*Product
	// owners are the products that SKUs belong to.
	owners     map[string]string
	categories map[string]bool
}

// entry is a product that must be written.
type entry struct {
	id string
	Content
}

// loadShelf reads all that decides whether entries can be written, in three statements.
func loadShelf(ctx context.Context, db aggregate.Querier, entries []entry) (s shelf, err error) {
	var ids, skus, named []string
	for _, e := range entries {
		ids = append(ids, e.id)
		skus = append(skus, e.SKUs()...)
		named = append(named, e.Categories...)
	}
	if s.products, err = products.Load(ctx, db, ids); err != nil {
		return s, err
	}
	if s.owners, err = pairs(ctx, db, `select sku, product_id from product_skus where sku = any($1)`, skus); err != nil {
		return s, fmt.Errorf("read owners of SKUs: %w", err)
	}
	found, err := pairs(ctx, db, `select id, '' from categories where id = any($1)`, named)
	if err != nil {
		return s, fmt.Errorf("look for categories: %w", err)
	}
	s.categories = make(map[string]bool, len(found))
	for id := range found {
		s.categories[id] = true
	}
	return s, nil
}

func pairs(ctx context.Context, db aggregate.Querier, sql string, keys []string) (map[string]string, error) {
	rows, err := db.Query(ctx, sql, keys)
	if err != nil {
		return nil, err
	}
	type pair struct{ Key, Value string }
	list, err := pgtx.Collect(rows, pgx.RowToStructByPos[pair])
	if err != nil {
		return nil, err
	}
	found := make(map[string]string, len(list))
	for _, p := range list {
		found[p.Key] = p.Value
	}
	return found, nil
}

// saveProducts writes products with their SKUs. A SKU that another transaction has just given
// to another product runs all of it again.
func saveProducts(ctx context.Context, tx *outbox.Tx, changed map[string]*Product) error {
	if len(changed) == 0 {
		return nil
	}
	var skus, owners []string
	for _, id := range sortedKeys(changed) {
		for _, sku := range changed[id].SKUs() {
			skus, owners = append(skus, sku), append(owners, id)
		}
	}
	if _, err := tx.Exec(ctx, `delete from product_skus where product_id = any($1) and not sku = any($2)`, sortedKeys(changed), skus); err != nil {
		return fmt.Errorf("take SKUs from products: %w", err)
	}
	if _, err := tx.Exec(ctx, `
		insert into product_skus (sku, product_id) select sku, id from unnest($1::text[], $2::text[]) n (sku, id) order by sku
		on conflict do nothing`, skus, owners); err != nil {
		return fmt.Errorf("give SKUs to products: %w", err)
	}
	kept, err := pairs(ctx, tx, `select sku, product_id from product_skus where sku = any($1)`, skus)
	if err != nil {
		return fmt.Errorf("read owners of SKUs: %w", err)
	}
	for i, sku := range skus {
		if kept[sku] != owners[i] {
			return fmt.Errorf("SKU %s: %w", sku, pgtx.ErrStale)
		}
	}
	return products.Save(tx, changed)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
