package catalog

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/events/price"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/servicetest"
)

const (
	published = `{"id": "ID", "state": "published", "title": "Lamp ID", "variants": [{"sku": "ID"}]}`
	setStock  = `insert into stock_view values ('ID', 2, false, '{"in_stock": true}')
		on conflict (key) do update set version = excluded.version, value = excluded.value`
	setPrice = `insert into price_view values ('ID', 2, false, '{"prices": [{"currency": "GBP", "amount": 5}]}')
		on conflict (key) do update set version = excluded.version, value = excluded.value`
)

// changesBeside are the changes that look for products, each while one is written that it belongs to.
var changesBeside = []struct {
	what string
	// ID stands for the product and its SKU.
	before, change, writes, query string
}{
	{what: "stock that is first heard of", change: setStock, writes: published, query: "q=ID&in_stock=true"},
	{"stock that changes", `insert into stock_view values ('ID', 1, false, '{"in_stock": false}')`, setStock, published, "q=ID&in_stock=true"},
	{what: "a price that is first heard of", change: setPrice, writes: published, query: "q=ID&max_price=5"},
	{"a price that changes", `insert into price_view values ('ID', 1, false, '{"prices": []}')`, setPrice, published, "q=ID&max_price=5"},
	{
		"stock of a SKU that moves", `
			insert into products select 'had', 'published', 'Had it', '', '[]', '[]', '[{"sku": "ID"}]', '[]', now(), null, 1;
			insert into product_skus values ('ID', 'had')`,
		setStock, `{"id": "had", "state": "published", "title": "Had it", "variants": [{"sku": "had"}]}` + "\n" + published, "q=ID&in_stock=true",
	},
	{
		"a category above", `insert into categories values ('up', 'Up', null, 1), ('low', 'Low', 'up', 1)`,
		`update categories set name = 'Bright', version = version + 1 where id = 'up'`,
		strings.Replace(published, `"variants"`, `"categories": ["low"], "variants"`, 1), "q=ID+bright",
	},
}

// checkChangesBeside has each change look for products before one is committed, and be committed
// after that was read for the index. The index has to have both in the end.
func (f *fixture) checkChangesBeside(t *testing.T, find func(query, want string)) {
	t.Helper()
	for i, c := range changesBeside {
		id := fmt.Sprintf("p%d", i)
		named := func(text string) string { return strings.ReplaceAll(text, "ID", id) }
		for sql := range strings.SplitSeq(named(c.before), ";") {
			servicetest.Exec(t, f.kit.Pool, sql)
		}
		f.index(t)
		changing := hold(t, f, named(c.change))
		written := f.write(t, named(c.writes))
		servicetest.Await(t, "a product is written, or waits for "+c.what, func() bool { return isClosed(written) || f.waiting(t) > 0 })
		f.index(t)
		if err := changing.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-written
		f.checkIndex(t)
		find(named(c.query), id)
	}
}

func TestAChangeBesideAProduct(t *testing.T) {
	f := newFixture(t)
	f.checkChangesBeside(t, func(query, want string) {
		if got := f.found(t, query); got != want {
			t.Errorf("%s finds %q, want %q", query, got, want)
		}
	})
}

// The same the other way round: an event comes while a product is written and not committed yet,
// and its transaction ends after the product was read for the index.
func TestAProductBesideAnEvent(t *testing.T) {
	f := newFixture(t)
	f.prices(t, 1, "held", 1)
	f.index(t)
	writing := hold(t, f, `insert into products select 'lamp', 'published', 'Lamp', '', '[]', '[]', '[{"sku": "LAMP-1"}]', '[]', now(), null, 1`,
		`insert into product_skus values ('LAMP-1', 'lamp')`)
	holding := hold(t, f, `select from price_view where key = 'held' for update`)
	heard := f.hear(t, "LAMP-1", "held")
	servicetest.Await(t, "the event waits", func() bool { return f.waiting(t) > 0 })
	if err := writing.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.index(t)
	if err := holding.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-heard
	f.checkIndex(t)
	if got := f.found(t, "in_stock=true"); got != "lamp" {
		t.Errorf("in stock are %q", got)
	}
}

// What sells without change to the index waits for nobody.
func TestEventsThatChangeNothingWaitForNoProduct(t *testing.T) {
	f := newFixture(t)
	f.stock(t, 1, 5, "LAMP-1")
	hold(t, f, `lock table search_lock in row exclusive mode`)
	f.stock(t, 2, 4, "LAMP-1")
	f.stock(t, 1, 0, "LAMP-1") // late
}

// hold runs statements in a transaction that goes on, without the limits of a service.
func hold(t *testing.T, f *fixture, statements ...string) pgx.Tx {
	t.Helper()
	tx, err := pgtest.Admin(t, f.kit.Pool).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	for _, sql := range statements {
		if _, err := tx.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	return tx
}

// waiting is how many connections of the service wait for others.
func (f *fixture) waiting(t *testing.T) (n int) {
	t.Helper()
	if err := f.kit.Pool.QueryRow(t.Context(), `
		select count(distinct pid) from pg_locks l join pg_stat_activity a using (pid)
		where not l.granted and a.datname = current_database() and a.usename = current_user`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// begin runs work until it is done, again where a lock was not got in the service's time. A
// busy machine may take longer than that.
func begin(t *testing.T, work func() (done bool)) <-chan struct{} {
	t.Helper()
	ended := make(chan struct{})
	var working sync.WaitGroup
	t.Cleanup(working.Wait)
	working.Go(func() {
		defer close(ended)
		for !work() && t.Context().Err() == nil {
		}
	})
	return ended
}

// write writes products, one a line, one after the other.
func (f *fixture) write(t *testing.T, lines string) <-chan struct{} {
	t.Helper()
	return begin(t, func() bool {
		for text := range strings.SplitSeq(lines, "\n") {
			e, err := readEntry([]byte(text))
			if err != nil {
				t.Error(err)
				return true
			}
			outcomes, err := putProducts(t.Context(), f.kit.Outbox, "", []entry{e})
			if pgtx.Contended(err) {
				return false
			}
			if err != nil || outcomes[0].refused != nil {
				t.Errorf("write %s: %v, %v", text, err, outcomes)
				return true
			}
		}
		return true
	})
}

// hear handles, in one transaction, that a SKU is in stock and another has no price any more.
func (f *fixture) hear(t *testing.T, stocked, priced string) <-chan struct{} {
	t.Helper()
	stock := stockChanged(1, 1, stocked)
	batch := []inbox.Delivery{
		{Event: &stock},
		{Event: &price.PriceUpdated{Products: []price.Product{{SKU: priced, Version: 2}}}},
	}
	return begin(t, func() bool {
		err := f.kit.Outbox.InTx(t.Context(), func(ctx context.Context, tx *outbox.Tx) error { return handle(ctx, tx, batch) })
		if pgtx.Contended(err) {
			return false
		}
		if err != nil {
			t.Errorf("hear: %v", err)
		}
		return true
	})
}
