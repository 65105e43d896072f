package catalog

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/events/price"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/services/catalog/search"
)

// offer is what is shown of a SKU beside its product: copies of what others own.
type offer struct {
	// inStock is nil where nothing was heard of the SKU.
	inStock *bool
	// prices are what everybody pays, by currency; none where nothing was heard of the SKU, or it
	// cannot be bought.
	prices []price.Price
}

// in returns the price in a currency, or nil.
func (o offer) in(currency string) *price.Price {
	for i, p := range o.prices {
		if p.Currency == currency {
			return &o.prices[i]
		}
	}
	return nil
}

// source is what documents for the index are made of.
type source struct {
	products map[string]*Product
	versions map[string]int64
	tree     Tree
	offers   map[string]offer // by SKU
}

// readSource reads all that documents of some products need.
func readSource(ctx context.Context, db aggregate.Querier, ids []string) (s source, err error) {
	if s.products, err = products.Load(ctx, db, ids); err != nil {
		return s, err
	}
	if s.tree, err = loadTree(ctx, db); err != nil {
		return s, err
	}
	if s.offers, err = loadOffers(ctx, db, ids); err != nil {
		return s, err
	}
	rows, err := db.Query(ctx, `select product_id, version from search_versions where product_id = any($1)`, ids)
	if err != nil {
		return s, fmt.Errorf("read search versions: %w", err)
	}
	s.versions = make(map[string]int64, len(ids))
	var id string
	var version int64
	if _, err := pgx.ForEachRow(rows, []any{&id, &version}, func() error { s.versions[id] = version; return nil }); err != nil {
		return s, fmt.Errorf("read search versions: %w", err)
	}
	return s, nil
}

// offersOf reads what is known of the SKUs of products.
const offersOf = `
	select s.sku, (v.value ->> 'in_stock')::boolean, p.value -> 'prices'
	from product_skus s left join stock_view v on v.key = s.sku left join price_view p on p.key = s.sku
	where s.product_id = any($1)`

func loadOffers(ctx context.Context, db aggregate.Querier, ids []string) (map[string]offer, error) {
	rows, err := db.Query(ctx, offersOf, ids)
	if err != nil {
		return nil, fmt.Errorf("read offers: %w", err)
	}
	return readOffers(rows)
}

func readOffers(rows pgx.Rows) (map[string]offer, error) {
	type row struct {
		SKU     string
		InStock *bool
		Prices  []price.Price
	}
	found, err := pgtx.Collect(rows, pgx.RowToStructByPos[row])
	if err != nil {
		return nil, fmt.Errorf("read offers: %w", err)
	}
	offers := make(map[string]offer, len(found))
	for _, r := range found {
		offers[r.SKU] = offer{r.InStock, r.Prices}
	}
	return offers, nil
}

// documents makes the documents of products, by id, with prices in a currency.
func (s *source) documents(ids []string, currency string) []search.Document {
	docs := make([]search.Document, len(ids))
	for i, id := range ids {
		docs[i] = s.document(id, currency)
	}
	return docs
}

func (s *source) document(id, currency string) search.Document {
	d := search.Document{ID: id, Version: s.versions[id], Deleted: true}
	p := s.products[id]
	if p == nil || p.State != Published {
		return d
	}
	d.Deleted, d.Revision, d.Title, d.PublishedAt = false, p.Version, p.Title, *p.PublishedAt
	// The words of a document are limited: SKUs come first, and the description, which may be
	// the longest, last.
	d.Text = p.SKUs()
	facet := func(name, value string) {
		if f := name + "=" + value; !slices.Contains(d.Facets, f) {
			d.Facets = append(d.Facets, f)
		}
	}
	for _, category := range p.Categories {
		for _, above := range s.tree.Path(category) {
			facet(CategoryFacet, above)
			d.Text = append(d.Text, s.tree[above].Name)
		}
	}
	for _, a := range p.Attributes {
		facet(a.Name, a.Value)
		d.Text = append(d.Text, a.Value)
	}
	for _, v := range p.Variants {
		d.Text = append(d.Text, v.Title)
		for _, a := range v.Attributes {
			facet(a.Name, a.Value)
			d.Text = append(d.Text, a.Value)
		}
	}
	d.Text = append(d.Text, p.Description)
	o := cheapest(p.SKUs(), s.offers, currency)
	d.InStock = o.inStock != nil && *o.inStock
	if cost := o.in(currency); cost != nil {
		d.Price = &cost.Amount
	}
	return d
}

// cheapest is what is shown of a product with several SKUs: whether one of them is in stock, and
// the lowest price in a currency.
func cheapest(skus []string, offers map[string]offer, currency string) (all offer) {
	for _, sku := range skus {
		o := offers[sku]
		if o.inStock != nil && (all.inStock == nil || *o.inStock) {
			all.inStock = o.inStock
		}
		if cost, least := o.in(currency), all.in(currency); cost != nil && (least == nil || cost.Amount < least.Amount) {
			all.prices = []price.Price{*cost}
		}
	}
	return all
}
