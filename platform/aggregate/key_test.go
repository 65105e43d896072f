package aggregate_test

import (
	"context"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/pgtx"
)

var keyed = fstest.MapFS{"migrations/00001_keyed.sql": {Data: []byte(`-- +goose Up
create table customers (id text primary key, version bigint not null, name text not null);
create table prices (
    sku text, currency text, version bigint not null, amount bigint not null, primary key (sku, currency));
`)}}

type customer struct {
	ID string `json:"id"`
	aggregate.Versioned
	Name string `json:"name"`
}

func (c *customer) Key() string { return c.ID }

type priceKey struct {
	SKU      string `json:"sku"`
	Currency string `json:"currency"`
}

type price struct {
	priceKey
	aggregate.Versioned
	Amount int64 `json:"amount"`
}

func (p *price) Key() priceKey { return p.priceKey }

var (
	customers = aggregate.NewTable[customer, string]("customers")
	prices    = aggregate.NewTable[price, priceKey]("prices")
)

func inTx(t *testing.T, pool *pgxpool.Pool, fn func(context.Context, *pgtx.Tx) error) {
	t.Helper()
	if err := pgtx.RunPiped(t.Context(), pool, fn); err != nil {
		t.Fatal(err)
	}
}

func TestTextKeys(t *testing.T) {
	pool := pgtest.Open(t, keyed)
	inTx(t, pool, func(_ context.Context, tx *pgtx.Tx) error {
		return customers.Save(tx, map[string]*customer{
			"ann": {ID: "ann", Name: "Ann"}, "o'brien": {ID: "o'brien", Name: "O'Brien"},
		})
	})
	inTx(t, pool, func(ctx context.Context, tx *pgtx.Tx) error {
		found, err := customers.Load(ctx, tx, []string{"ann", "o'brien", "nobody"})
		if err != nil || len(found) != 2 {
			t.Fatalf("loaded %v, %v, want two", found, err)
		}
		found["o'brien"].Name = "Mr O'Brien"
		return customers.Save(tx, found)
	})
	found, err := customers.Load(t.Context(), pool, []string{"ann", "o'brien"})
	if err != nil || found["ann"].Version != 1 || found["o'brien"].Version != 2 || found["o'brien"].Name != "Mr O'Brien" {
		t.Errorf("loaded %+v %+v, %v", found["ann"], found["o'brien"], err)
	}
}

func TestKeysOfSeveralColumns(t *testing.T) {
	pool := pgtest.Open(t, keyed)
	tea, teaUSD := priceKey{"TEA", "GBP"}, priceKey{"TEA", "USD"}
	inTx(t, pool, func(_ context.Context, tx *pgtx.Tx) error {
		return prices.Save(tx, map[priceKey]*price{
			tea: {priceKey: tea, Amount: 450}, teaUSD: {priceKey: teaUSD, Amount: 600},
		})
	})
	inTx(t, pool, func(ctx context.Context, tx *pgtx.Tx) error {
		found, err := prices.Load(ctx, tx, []priceKey{tea, {"MILK", "GBP"}})
		if err != nil || len(found) != 1 || found[tea].Amount != 450 {
			t.Fatalf("loaded %v, %v, want the tea in pounds", found, err)
		}
		found[tea].Amount = 475
		return prices.Save(tx, found)
	})
	found, err := prices.Load(t.Context(), pool, []priceKey{tea, teaUSD})
	if err != nil || found[tea].Version != 2 || found[tea].Amount != 475 || found[teaUSD].Version != 1 {
		t.Errorf("loaded %+v %+v, %v", found[tea], found[teaUSD], err)
	}
}

func TestDelete(t *testing.T) {
	pool := pgtest.Open(t, keyed)
	tea, milk := priceKey{"TEA", "GBP"}, priceKey{"MILK", "GBP"}
	inTx(t, pool, func(_ context.Context, tx *pgtx.Tx) error {
		return prices.Save(tx, map[priceKey]*price{tea: {priceKey: tea, Amount: 1}, milk: {priceKey: milk, Amount: 1}})
	})
	var stale map[priceKey]*price
	inTx(t, pool, func(ctx context.Context, tx *pgtx.Tx) (err error) {
		stale, err = prices.Load(ctx, tx, []priceKey{tea})
		return err
	})
	inTx(t, pool, func(ctx context.Context, tx *pgtx.Tx) error {
		found, err := prices.Load(ctx, tx, []priceKey{tea})
		if err != nil {
			return err
		}
		found[tea].Amount++
		return prices.Save(tx, found)
	})
	err := pgtx.RunPiped(t.Context(), pool, func(_ context.Context, tx *pgtx.Tx) error { return prices.Delete(tx, stale) })
	if err == nil || !strings.Contains(err.Error(), "gave up") {
		t.Errorf("a row that changed since it was loaded was removed (%v)", err)
	}
	inTx(t, pool, func(ctx context.Context, tx *pgtx.Tx) error {
		found, err := prices.Load(ctx, tx, []priceKey{tea})
		if err != nil {
			return err
		}
		return prices.Delete(tx, found)
	})
	found, err := prices.Load(t.Context(), pool, []priceKey{tea, milk})
	if err != nil || len(found) != 1 || found[milk] == nil {
		t.Errorf("left %v, %v, want the milk", found, err)
	}
}
