package price

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/outbox"
	"quadrille.internal/services/price/book"
	"quadrille.internal/services/price/pricing"
)

// change makes the next revision of the book within a transaction. The row of the book is
// locked until the commit, so revisions are committed in their order.
type change struct {
	*outbox.Tx
	revision int64
}

func begin(ctx context.Context, tx *outbox.Tx, what string) (*change, error) {
	c := &change{Tx: tx}
	rows, err := tx.Query(ctx, `update book set revision = revision + 1 where one returning revision`)
	if err != nil {
		return nil, fmt.Errorf("next revision: %w", err)
	}
	if c.revision, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[int64]); err != nil {
		return nil, fmt.Errorf("next revision: %w", err)
	}
	if _, err := tx.Exec(ctx, `insert into revisions (id, made_at, what) values ($1, $2, $3)`, c.revision, tx.Now, what); err != nil {
		return nil, fmt.Errorf("note revision %d: %w", c.revision, err)
	}
	return c, nil
}

// put makes a document say something else from this revision on, and reports whether there
// was none.
func (c *change) put(ctx context.Context, kind, name string, body any) (added bool, err error) {
	ended, err := c.end(ctx, kind, name)
	if err != nil {
		return false, err
	}
	text, err := json.Marshal(body)
	if err != nil {
		return false, fmt.Errorf("put %s %s: %w", kind, name, err)
	}
	if _, err := c.Exec(ctx, `insert into documents (kind, name, since, body) values ($1, $2, $3, $4)`, kind, name, c.revision, text); err != nil {
		return false, fmt.Errorf("put %s %s: %w", kind, name, err)
	}
	return !ended, nil
}

// emptyList ends the prices that a list of the name had before it was deleted. Their SKUs are
// marked here: that the list was deleted may not have been told yet.
func (c *change) emptyList(ctx context.Context, name string) error {
	if _, err := c.Exec(ctx, `
		with ended as (update prices set until = $2 where list = $1 and until is null returning sku)
		insert into public_prices_changes (key) select distinct sku from ended`, name, c.revision); err != nil {
		return fmt.Errorf("empty list %s: %w", name, err)
	}
	return nil
}

// end ends a document with this revision, and reports whether there is one.
func (c *change) end(ctx context.Context, kind, name string) (ended bool, err error) {
	done, err := c.Exec(ctx, `update documents set until = $3 where kind = $1 and name = $2 and until is null`, kind, name, c.revision)
	if err != nil {
		return false, fmt.Errorf("end %s %s: %w", kind, name, err)
	}
	return done.RowsAffected() > 0, nil
}

// setPrices gives SKUs of a list these prices and no others. What stays the same is not
// written.
func (c *change) setPrices(ctx context.Context, list string, skus []string, entries []book.Entry) error {
	rows, err := c.Query(ctx, selectEntries, skus, list)
	if err != nil {
		return fmt.Errorf("read prices of %s: %w", list, err)
	}
	present, err := pgx.CollectRows(rows, pgx.RowToStructByPos[book.Entry])
	if err != nil {
		return fmt.Errorf("read prices of %s: %w", list, err)
	}
	stays := make(map[book.Entry]bool, len(entries))
	for _, e := range entries {
		e.List = list
		stays[e] = true
	}
	var ended, added columns
	for _, e := range present {
		if !stays[e] {
			ended.add(e)
		}
		delete(stays, e)
	}
	for e := range stays {
		added.add(e)
	}
	if _, err := c.Exec(ctx, `
		update prices p set until = $4 from unnest($2::text[], $3::bigint[]) n (sku, min_quantity)
		where p.sku = n.sku and p.list = $1 and p.min_quantity = n.min_quantity and p.until is null`,
		list, ended.skus, ended.quantities, c.revision); err != nil {
		return fmt.Errorf("end prices of %s: %w", list, err)
	}
	if _, err := c.Exec(ctx, `
		insert into prices (sku, list, min_quantity, since, amount)
		select n.sku, $1, n.min_quantity, $5, n.amount from unnest($2::text[], $3::bigint[], $4::bigint[]) n (sku, min_quantity, amount)`,
		list, added.skus, added.quantities, added.amounts, c.revision); err != nil {
		return fmt.Errorf("add prices of %s: %w", list, err)
	}
	changed := slices.Concat(ended.skus, added.skus)
	slices.Sort(changed)
	if _, err := c.Exec(ctx, `insert into public_prices_changes (key) select unnest($1::text[])`, slices.Compact(changed)); err != nil {
		return fmt.Errorf("mark prices of %s: %w", list, err)
	}
	return nil
}

// columns are prices of a list, a column each.
type columns struct {
	skus                []string
	quantities, amounts []int64
}

func (c *columns) add(e book.Entry) {
	c.skus, c.quantities, c.amounts = append(c.skus, e.SKU), append(c.quantities, e.MinQuantity), append(c.amounts, e.Amount)
}

// switchAt has what a list says published now, and when it becomes valid or ceases to be so.
func (c *change) switchAt(ctx context.Context, name string, list pricing.List) error {
	turns := []time.Time{c.Now, list.From}
	if list.Until != nil {
		turns = append(turns, *list.Until)
	}
	if _, err := c.Exec(ctx, `
		insert into switches (list, at) select $1, at from unnest($2::timestamptz[]) at where at >= $3`, name, turns, c.Now); err != nil {
		return fmt.Errorf("plan the switches of %s: %w", name, err)
	}
	return nil
}

// document is a document as it is now.
type document struct {
	Name  string
	Since int64
	Body  []byte
}

const selectDocuments = `select name, since, body from documents where kind = $1 and until is null and `

func (s *server) document(ctx context.Context, kind, name string) (*document, error) {
	found, err := s.documents(ctx, selectDocuments+`name = $2`, kind, name)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

func (s *server) documents(ctx context.Context, sql string, args ...any) ([]document, error) {
	rows, err := s.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read documents: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[document])
	if err != nil {
		return nil, fmt.Errorf("read documents: %w", err)
	}
	return found, nil
}

// skusOf returns up to limit SKUs of a list behind one, by SKU.
func (s *server) skusOf(ctx context.Context, list, after string, limit int) ([]string, error) {
	rows, err := s.pool.Query(ctx, `
		select distinct sku from prices where list = $1 and sku > $2 and until is null order by sku limit $3`, list, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read the SKUs of %s: %w", list, err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

const selectEntries = `
	select sku, list, min_quantity, amount from prices
	where sku = any($1) and list = $2 and until is null order by sku, min_quantity`

func (s *server) entriesOf(ctx context.Context, list string, skus []string) ([]book.Entry, error) {
	rows, err := s.pool.Query(ctx, selectEntries, skus, list)
	if err != nil {
		return nil, fmt.Errorf("read the prices of %s: %w", list, err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[book.Entry])
}
