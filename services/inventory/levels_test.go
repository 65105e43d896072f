package inventory

import (
	"io/fs"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/inventory"
	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/servicetest"
)

// sweep publishes the levels that may have changed.
func (f fixture) sweep(t *testing.T) {
	t.Helper()
	for n := 1; n > 0; {
		var err error
		if n, err = levels.Sweep(t.Context(), f.kit.Outbox); err != nil {
			t.Errorf("%v", err)
			return
		}
	}
}

// told are the states that were published, oldest first.
func (f fixture) told(t *testing.T) (states []inventory.ChangedSKU) {
	t.Helper()
	for _, e := range servicetest.Emitted(t, f.kit.Pool)[uuid.Nil] {
		if c, ok := e.(*inventory.StockChanged); ok {
			states = append(states, c.SKUs...)
		}
	}
	return states
}

// list reads the snapshot in small pages.
func (f fixture) list(t *testing.T) map[string]*inventoryv1.StockItem {
	t.Helper()
	found := make(map[string]*inventoryv1.StockItem)
	for token := ""; ; {
		answer, err := (&stockSnapshot{pool: f.kit.Pool, log: f.kit.Log}).ListStock(t.Context(), &inventoryv1.ListStockRequest{PageSize: 2, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range answer.GetItems() {
			found[item.GetSku()] = item
		}
		if token = answer.GetNextPageToken(); token == "" {
			return found
		}
	}
}

// checkLevels proves that snapshot, stock and the newest event of each SKU agree.
func (f fixture) checkLevels(t *testing.T) {
	t.Helper()
	newest := make(map[string]inventory.ChangedSKU)
	for _, s := range f.told(t) {
		if newest[s.SKU].Version < s.Version {
			newest[s.SKU] = s
		}
	}
	rows, err := f.kit.Pool.Query(t.Context(), `select distinct sku from stock`)
	if err != nil {
		t.Fatal(err)
	}
	var skus []string
	for rows.Next() {
		var sku string
		if err := rows.Scan(&sku); err != nil {
			t.Fatal(err)
		}
		skus = append(skus, sku)
	}
	truth, err := readLevels(t.Context(), f.kit.Pool, skus)
	if err != nil || rows.Err() != nil {
		t.Fatal(err, rows.Err())
	}
	listed := f.list(t)
	if len(listed) != len(truth) || len(newest) != len(truth) {
		t.Errorf("%d SKUs are listed, %d published, want %d", len(listed), len(newest), len(truth))
	}
	for sku, level := range truth {
		item, event := listed[sku], newest[sku]
		if item == nil || event.Version == 0 {
			t.Errorf("%s is not published", sku)
			continue
		}
		if item.GetVersion() != event.Version || item.GetAvailable() != level.Available || event.Available != level.Available ||
			!slices.Equal(event.Warehouses, level.Warehouses) || len(item.GetWarehouses()) != len(level.Warehouses) {
			t.Errorf("%s: stock %v, event %v, listed %v", sku, level, event, item)
		}
	}
}

// Whatever changes what orders may have is published, and nothing else.
func TestStockLevelsFollowTheStock(t *testing.T) {
	f := newFixture(t)
	in, first, second := f.inbox(t, time.Minute), uuid.New(), uuid.New()
	for _, step := range []struct {
		name    string
		do      func()
		changed int64 // what is available then, or -1 where nothing is published
	}{
		{"counted", func() {
			f.put(t, Stock{SKU: "a", Warehouse: "hull", OnHand: 5}, Stock{SKU: "a", Warehouse: "york", OnHand: 2})
		}, 7},
		{"counted again", func() { f.put(t, Stock{SKU: "a", Warehouse: "hull", OnHand: 5}) }, -1},
		{"reserved", func() {
			in.Deliver(servicetest.Message(t, created(first, events.Line{SKU: "a", Quantity: 6}), epoch))
		}, 1},
		{"shipped", func() { in.Deliver(servicetest.Message(t, orderConfirmed(first), epoch)) }, -1},
		{"allocated by a call", func() {
			if _, err := f.allocations().Allocate(t.Context(), ask(second, "a", 1, false)); err != nil {
				t.Error(err)
			}
		}, 0},
		{"released", func() { in.Deliver(servicetest.Message(t, orderCancelled(second), epoch)) }, 1},
		{"adjusted", func() {
			err := adjust(t.Context(), f.kit.Pool, []Movement{{SKU: "a", Warehouse: "york", Delta: 3, Reason: "found", Key: new("k"), Line: new(1)}})
			if err != nil {
				t.Error(err)
			}
		}, 4},
		{"reserved and cancelled", func() {
			id := uuid.New()
			in.Deliver(servicetest.Message(t, created(id, events.Line{SKU: "a", Quantity: 1}), epoch))
			in.Deliver(servicetest.Message(t, orderCancelled(id), epoch))
		}, -1},
		{"a new, empty warehouse", func() { f.put(t, Stock{SKU: "a", Warehouse: "bath"}) }, 4},
		{"changed by hand", func() {
			if _, err := pgtest.Owner(t, f.kit.Pool).Exec(t.Context(), `update stock set on_hand = on_hand + 1 where warehouse = 'bath'`); err != nil {
				t.Error(err)
			}
		}, 5},
		{"counted, plenty", func() { f.put(t, Stock{SKU: "a", Warehouse: "hull", OnHand: 5_057}) }, 5_005},
		{"reserved of plenty", func() {
			in.Deliver(servicetest.Message(t, created(uuid.New(), events.Line{SKU: "a", Quantity: 6}), epoch))
		}, -1},
	} {
		before := f.told(t)
		step.do()
		f.sweep(t)
		told := f.told(t)[len(before):]
		switch {
		case step.changed < 0 && len(told) > 0, step.changed >= 0 && len(told) != 1:
			t.Errorf("%s: published %v", step.name, told)
		case step.changed >= 0 && told[0].Available != step.changed:
			t.Errorf("%s: published %v, want %d available", step.name, told[0], step.changed)
		}
	}
	f.checkLevels(t)
}

// The trigger must mark exactly what readLevels would publish.
func TestPublishedLevelIsTheSameInSQL(t *testing.T) {
	f := newFixture(t)
	for _, n := range []int64{0, 1, 9, 10, 99, 100, 101, 109, 110, 999, 1_000, 1_099, 1_100, 98_765, 1<<53 - 1, 1<<53 + 1, 999_999_999_999_999_999} {
		var got int64
		if err := f.kit.Pool.QueryRow(t.Context(), `select published_level($1)`, n).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if want := inventory.PublishedLevel(n); got != want {
			t.Errorf("published_level(%d) is %d, PublishedLevel %d", n, got, want)
		}
	}
}

// What lay there before this release is published too.
func TestEarlierStockIsPublished(t *testing.T) {
	earlier := fstest.MapFS{}
	for _, name := range []string{"00001_stock.sql", "00002_moves_and_adjustments.sql", "00003_adjustments_once.sql"} {
		text, err := fs.ReadFile(migrations, "migrations/"+name)
		if err != nil {
			t.Fatal(err)
		}
		earlier["migrations/"+name] = &fstest.MapFile{Data: text}
	}
	database := pgtest.New(t)
	database.Migrate(t, earlier)
	pool, err := pgtx.Open(t.Context(), database.Runtime, pgtx.Options{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(t.Context(), `insert into stock (sku, warehouse, on_hand) select 'sku-' || i, 'leeds', i from generate_series(1, 230) i`); err != nil {
		t.Fatal(err)
	}
	database.Migrate(t, migrations)
	f := fixture{servicetest.NewKit(t, Service())}
	f.kit.Pool = pool
	f.kit.Outbox = outbox.New(outbox.Config{Source: "inventory", Emits: Service().Emits, Pool: pool, Log: f.kit.Log})
	f.sweep(t)
	f.checkLevels(t)
	if listed := f.list(t); len(listed) != 230 {
		t.Errorf("%d SKUs are listed, want 230", len(listed))
	}
	if n := len(servicetest.Emitted(t, f.kit.Pool)[uuid.Nil]); n != 3 {
		t.Errorf("230 SKUs were told in %d events, want 3", n)
	}
}
