package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	catalog "quadrille.internal/services/catalog/audit"
	inventory "quadrille.internal/services/inventory/audit"
	price "quadrille.internal/services/price/audit"
)

// told is what an owner has published of something, or what a copy has of it.
type told struct {
	version int64
	state   string
}

// copies checks that catalog shows what inventory and price have published. Of an installation
// without catalog there is nothing to check.
func (src *Sources) copies(ctx context.Context) (checks []Check, err error) {
	shown := src.Databases["catalog"]
	for _, c := range []struct {
		name, owner string
		published   func(context.Context, *pgxpool.Pool) (map[string]told, error)
		copied      func(context.Context, *pgxpool.Pool) (map[string]told, error)
	}{
		{"catalog shows the stock that inventory has published", "inventory", publishedStock, copiedStock},
		{"catalog shows the prices that price has published", "price", publishedPrices, copiedPrices},
	} {
		owner := src.Databases[c.owner]
		if owner == nil || shown == nil {
			continue
		}
		check := Check{Name: c.name, Unit: "SKUs"}
		read := func() (map[string]string, error) {
			// The copies first: what is published after them is not missed by them.
			copied, err := c.copied(ctx, shown)
			if err != nil {
				return nil, fmt.Errorf("read catalog's copies: %w", err)
			}
			published, err := c.published(ctx, owner)
			if err != nil {
				return nil, fmt.Errorf("read what %s has published: %w", c.owner, err)
			}
			check.Checked = len(published)
			return differing(published, copied), nil
		}
		lasting, err := src.lasting(ctx, read)
		if err != nil {
			return nil, err
		}
		for _, sku := range slices.Sorted(maps.Keys(lasting)) {
			check.Offenders = append(check.Offenders, Offender{sku, lasting[sku]})
		}
		checks = append(checks, check)
	}
	return checks, nil
}

// lasting returns the faults that are there each time, until ClearWithin is over or none is left.
func (src *Sources) lasting(ctx context.Context, read func() (map[string]string, error)) (map[string]string, error) {
	deadline := time.Now().Add(src.ClearWithin)
	faults, err := read()
	for err == nil && len(faults) > 0 && time.Now().Before(deadline) {
		if err := pause(ctx); err != nil {
			return nil, err
		}
		var again map[string]string
		again, err = read()
		maps.DeleteFunc(faults, func(id, _ string) bool { return again[id] == "" })
	}
	return faults, err
}

// differing says what copies have otherwise than their owner.
func differing(published, copied map[string]told) map[string]string {
	faults := make(map[string]string)
	for id, p := range published {
		switch c, there := copied[id]; {
		case !there:
			faults[id] = fmt.Sprintf("version %d is published, and there is no copy", p.version)
		case c.version != p.version:
			faults[id] = fmt.Sprintf("version %d is published, the copy is of version %d", p.version, c.version)
		case c.state != p.state:
			faults[id] = fmt.Sprintf("published as %q, the copy is %q", p.state, c.state)
		}
	}
	for id := range copied {
		if _, there := published[id]; !there {
			faults[id] = "there is a copy, and nothing is published"
		}
	}
	return faults
}

func publishedStock(ctx context.Context, db *pgxpool.Pool) (map[string]told, error) {
	all := make(map[string]told)
	return all, inventory.Levels(ctx, db, func(l inventory.Level) {
		all[l.SKU] = told{l.Version, map[bool]string{true: "in stock", false: "sold out"}[l.InStock]}
	})
}

func publishedPrices(ctx context.Context, db *pgxpool.Pool) (map[string]told, error) {
	all := make(map[string]told)
	return all, price.Published(ctx, db, func(p price.Public) { all[p.SKU] = told{p.Version, p.Prices} })
}

func copiedStock(ctx context.Context, db *pgxpool.Pool) (map[string]told, error) {
	all := make(map[string]told)
	return all, catalog.Stocks(ctx, db, func(c catalog.Copy) { all[c.SKU] = told{c.Version, c.State} })
}

func copiedPrices(ctx context.Context, db *pgxpool.Pool) (map[string]told, error) {
	all := make(map[string]told)
	return all, catalog.Prices(ctx, db, func(c catalog.Copy) { all[c.SKU] = told{c.Version, c.State} })
}
