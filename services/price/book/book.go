// Package book reads the price book, as it is and as it was at a revision.
package book

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/services/price/pricing"
)

// The kinds of documents.
const (
	KindList      = "list"
	KindPromotion = "promotion"
	KindTax       = "tax"
	KindShipping  = "shipping"
	KindVoucher   = "voucher"
)

// DB is a pool, a connection or a transaction.
type DB interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Rules are the documents of a revision that every quote needs, by name. They are not changed
// once they are read.
type Rules struct {
	Revision   int64
	Lists      map[string]pricing.List
	Promotions []pricing.Promotion
	Taxes      pricing.TaxTable
	Shipping   []pricing.Shipping
}

// Entry is a price in a list.
type Entry struct {
	SKU         string `json:"sku"`
	List        string `json:"list"`
	MinQuantity int64  `json:"min_quantity"`
	Amount      int64  `json:"amount"`
}

// RulesNow reads the rules of the newest revision.
func RulesNow(ctx context.Context, db DB) (*Rules, error) {
	return readRules(ctx, db, `
		select b.revision, d.kind, d.name, d.body from book b
		left join documents d on d.kind = any($1) and d.until is null where b.one`+byName, everyQuote)
}

// RulesAt reads the rules of a revision.
func RulesAt(ctx context.Context, db DB, revision int64) (*Rules, error) {
	return readRules(ctx, db, `
		select r.id, d.kind, d.name, d.body from revisions r
		left join documents d on d.kind = any($1) and d.since <= r.id and (d.until is null or d.until > r.id)
		where r.id = $2`+byName, everyQuote, revision)
}

// byName orders documents, so that of two which say something of the same the same one counts
// now and whenever it is computed again.
const byName = ` order by d.name collate "C"`

var everyQuote = []string{KindList, KindPromotion, KindTax, KindShipping}

func readRules(ctx context.Context, db DB, sql string, args ...any) (*Rules, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read the rules: %w", err)
	}
	defer rows.Close()
	rules := &Rules{Lists: make(map[string]pricing.List)}
	for rows.Next() {
		var kind, name *string
		var body []byte
		if err := rows.Scan(&rules.Revision, &kind, &name, &body); err != nil {
			return nil, fmt.Errorf("read the rules: %w", err)
		}
		if kind == nil {
			continue // the book is empty
		}
		if err := rules.add(*kind, *name, body); err != nil {
			return nil, fmt.Errorf("read %s %s: %w", *kind, *name, err)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the rules: %w", err)
	}
	return rules, nil
}

func (r *Rules) add(kind, name string, body []byte) error {
	switch kind {
	case KindList:
		var l pricing.List
		if err := json.Unmarshal(body, &l); err != nil {
			return err
		}
		r.Lists[name] = l
	case KindPromotion:
		p := pricing.Promotion{Name: name}
		if err := json.Unmarshal(body, &p.Rule); err != nil {
			return err
		}
		r.Promotions = append(r.Promotions, p)
	case KindTax:
		var t pricing.RegionTax
		if err := json.Unmarshal(body, &t); err != nil {
			return err
		}
		r.Taxes = append(r.Taxes, t)
	case KindShipping:
		var s pricing.Shipping
		if err := json.Unmarshal(body, &s); err != nil {
			return err
		}
		r.Shipping = append(r.Shipping, s)
	}
	return nil
}

// Prices returns entries with the heads of their lists. Those of a list that is no more are
// left out.
func (r *Rules) Prices(entries []Entry) []pricing.Price {
	prices := make([]pricing.Price, 0, len(entries))
	for _, e := range entries {
		if head, exists := r.Lists[e.List]; exists {
			prices = append(prices, pricing.Price{SKU: e.SKU, MinQuantity: e.MinQuantity, Amount: e.Amount, ListName: e.List, List: head})
		}
	}
	return prices
}

// Book returns the rules with prices and a voucher, which may be nil.
func (r *Rules) Book(taxes pricing.Taxes, entries []Entry, voucher *pricing.Voucher) *pricing.Book {
	return &pricing.Book{
		Revision: r.Revision, Prices: r.Prices(entries), Promotions: r.Promotions, Taxes: taxes, Shipping: r.Shipping, Voucher: voucher,
	}
}

// Goods are what the newest revision says of some SKUs and a voucher.
type Goods struct {
	Revision int64
	Entries  []Entry
	Voucher  *pricing.Voucher
	// Left is how often the voucher can still be used.
	Left int64
}

// GoodsNow reads, in one moment, what SKUs cost and a voucher gives; code may be "".
func GoodsNow(ctx context.Context, db DB, skus []string, code string) (*Goods, error) {
	var g Goods
	var entries, voucher []byte
	err := db.QueryRow(ctx, `
		select b.revision,
			(select coalesce(json_agg(json_build_object('sku', p.sku, 'list', p.list, 'min_quantity', p.min_quantity, 'amount', p.amount)), '[]')
			 from prices p where p.sku = any($1) and p.until is null),
			(select d.body from documents d where d.kind = 'voucher' and d.name = $2 and d.until is null),
			coalesce((select v.max_uses - v.held - v.redeemed from vouchers v where v.code = $2), 0)
		from book b where b.one`, skus, code).Scan(&g.Revision, &entries, &voucher, &g.Left)
	if err != nil {
		return nil, fmt.Errorf("read the prices: %w", err)
	}
	return &g, g.decode(entries, voucher, code)
}

// GoodsAt reads the same as it was at a revision; Left stays 0.
func GoodsAt(ctx context.Context, db DB, revision int64, skus []string, code string) (*Goods, error) {
	g := Goods{Revision: revision}
	var entries, voucher []byte
	err := db.QueryRow(ctx, `
		select
			(select coalesce(json_agg(json_build_object('sku', p.sku, 'list', p.list, 'min_quantity', p.min_quantity, 'amount', p.amount)), '[]')
			 from prices p where p.sku = any($1) and p.since <= $3 and (p.until is null or p.until > $3)),
			(select d.body from documents d where d.kind = 'voucher' and d.name = $2 and d.since <= $3 and (d.until is null or d.until > $3))`,
		skus, code, revision).Scan(&entries, &voucher)
	if err != nil {
		return nil, fmt.Errorf("read the prices of revision %d: %w", revision, err)
	}
	return &g, g.decode(entries, voucher, code)
}

func (g *Goods) decode(entries, voucher []byte, code string) error {
	if err := json.Unmarshal(entries, &g.Entries); err != nil {
		return fmt.Errorf("read the prices: %w", err)
	}
	if voucher == nil {
		return nil
	}
	g.Voucher = &pricing.Voucher{Code: code}
	if err := json.Unmarshal(voucher, &g.Voucher.Rule); err != nil {
		return fmt.Errorf("read voucher %s: %w", code, err)
	}
	return nil
}

// At returns the book as it was at a revision, as far as a basket needs it.
func At(ctx context.Context, db DB, revision int64, basket pricing.Basket) (*pricing.Book, error) {
	rules, err := RulesAt(ctx, db, revision)
	if err != nil {
		return nil, err
	}
	goods, err := GoodsAt(ctx, db, revision, SKUs(basket), basket.Voucher)
	if err != nil {
		return nil, err
	}
	return rules.Book(rules.Taxes, goods.Entries, goods.Voucher), nil
}

// SKUs lists those of a basket.
func SKUs(b pricing.Basket) []string {
	skus := make([]string, len(b.Items))
	for i, item := range b.Items {
		skus[i] = item.SKU
	}
	return skus
}
