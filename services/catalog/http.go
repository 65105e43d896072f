package catalog

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/events"
	"quadrille.internal/events/catalog"
	"quadrille.internal/events/price"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/rest"
	"quadrille.internal/services/catalog/search"
)

type server struct {
	pool   *pgxpool.Pool
	outbox *outbox.Outbox
	engine search.Engine
	api    rest.API
	// changed has the index hear at once of what was changed here, and built of what an operator asked for.
	changed func()
	builder *builder
	// currency is that of prices in searches.
	currency string
}

func (s *server) routes(r chi.Router) {
	r.Get("/v1/products", s.api.Handle(s.list))
	r.Get("/v1/products/{id}", s.api.Handle(s.get))
	r.Get("/v1/categories", s.api.Handle(s.listCategories))
	r.Get("/v1/categories/{id}", s.api.Handle(s.getCategory))
	r.Get("/v1/search", s.api.Handle(s.search))
}

// productView is a product as callers see it. Version is its ETag without the quotes.
type productView struct {
	ID          string              `json:"id"`
	Version     int64               `json:"version"`
	State       State               `json:"state"`
	Title       string              `json:"title"`
	Description string              `json:"description"`
	Categories  []string            `json:"categories"`
	Attributes  []catalog.Attribute `json:"attributes"`
	Variants    []variantView       `json:"variants"`
	Media       []catalog.Media     `json:"media"`
	PublishedAt *time.Time          `json:"published_at,omitempty"`
	RetiredAt   *time.Time          `json:"retired_at,omitempty"`
}

// variantView has copies of what inventory and price own: hints. The reservation and the quote decide.
type variantView struct {
	catalog.Variant
	// InStock is left out where nothing is known.
	InStock *bool `json:"in_stock,omitempty"`
	// Prices are by currency.
	Prices []priceView `json:"prices"`
}

// priceView is what everybody pays for one, in minor units without tax.
type priceView struct {
	Currency  string `json:"currency"`
	Amount    int64  `json:"amount"`
	ListPrice int64  `json:"list_price"`
	// ValidUntil is when it ends, where that is known.
	ValidUntil *time.Time `json:"valid_until,omitempty"`
}

func priceViewOf(p price.Price) priceView {
	return priceView{p.Currency, p.Amount, p.ListPrice, p.ValidUntil}
}

func viewOf(p *Product, offers map[string]offer) productView {
	v := productView{
		ID: p.ID, Version: p.Version, State: p.State, Title: p.Title, Description: p.Description,
		Categories: p.Categories, Attributes: p.Attributes, Media: p.Media, PublishedAt: p.PublishedAt, RetiredAt: p.RetiredAt,
		Variants: make([]variantView, len(p.Variants)),
	}
	for i, variant := range p.Variants {
		o := offers[variant.SKU]
		v.Variants[i] = variantView{variant, o.inStock, make([]priceView, len(o.prices))}
		for j, p := range o.prices {
			v.Variants[i].Prices[j] = priceViewOf(p)
		}
	}
	return v
}

const (
	productsPage    = 50
	maxProductsPage = 200
	maxSKUs         = 100
)

// list pages through what is published, by id, or returns the products of some SKUs.
func (s *server) list(w http.ResponseWriter, r *http.Request) error {
	limit, behind, err := rest.ReadPage(r, rest.Pages{Default: productsPage, Most: maxProductsPage}, "", parseProductCursor)
	if err != nil {
		return err
	}
	skus := r.URL.Query()["sku"]
	if len(skus) > maxSKUs {
		return fault.Field("sku", "out_of_range", "Name %d SKUs at most.", maxSKUs)
	}
	for _, sku := range skus {
		if err := events.CheckName("sku", sku); err != nil {
			return err
		}
	}
	ctx := r.Context()
	condition, args := `where state = 'published' and id > $1 order by id limit $2`, []any{behind, limit + 1}
	if len(skus) > 0 {
		condition = `where state <> 'draft' and id > $1 and id in (select product_id from product_skus where sku = any($3)) order by id limit $2`
		args = append(args, skus)
	}
	found, err := products.Select(ctx, s.pool, condition, args...)
	if err != nil {
		return err
	}
	page, next := rest.CutPage(found, limit, func(last *Product) string { return last.ID })
	views, err := s.views(ctx, page)
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusOK, struct {
		Products []productView `json:"products"`
		Next     string        `json:"next_cursor,omitempty"`
	}{views, next})
}

func (s *server) views(ctx context.Context, list []*Product) ([]productView, error) {
	ids := make([]string, len(list))
	for i, p := range list {
		ids[i] = p.ID
	}
	offers, err := loadOffers(ctx, s.pool, ids)
	if err != nil {
		return nil, err
	}
	views := make([]productView, len(list))
	for i, p := range list {
		views[i] = viewOf(p, offers)
	}
	return views, nil
}

// get answers with what is, or was, published: who bought a product may still look at it.
func (s *server) get(w http.ResponseWriter, r *http.Request) error {
	return s.answer(w, r, func(p *Product) bool { return p.State != Draft })
}

func (s *server) answer(w http.ResponseWriter, r *http.Request, shown func(*Product) bool) error {
	id, err := idOf(r)
	if err != nil {
		return err
	}
	found, err := products.Load(r.Context(), s.pool, []string{id})
	if err != nil {
		return err
	}
	p := found[id]
	if p == nil || !shown(p) {
		return fault.New(fault.NotFound, "product_not_found", "There is no such product.")
	}
	views, err := s.views(r.Context(), []*Product{p})
	if err != nil {
		return err
	}
	return write(w, http.StatusOK, p.Version, views[0])
}

// write answers with something and its version as ETag.
func write(w http.ResponseWriter, status int, version int64, v any) error {
	w.Header().Set("ETag", strconv.Quote(strconv.FormatInt(version, 10)))
	return rest.Write(w, status, v)
}

func idOf(r *http.Request) (string, error) {
	id := chi.URLParam(r, "id")
	return id, events.CheckName("id", id)
}

// categoryView is a category as callers see it.
type categoryView struct {
	ID      string  `json:"id"`
	Version int64   `json:"version"`
	Name    string  `json:"name"`
	Parent  *string `json:"parent"`
}

// listCategories answers with the whole tree.
func (s *server) listCategories(w http.ResponseWriter, r *http.Request) error {
	tree, err := loadTree(r.Context(), s.pool)
	if err != nil {
		return err
	}
	views := make([]categoryView, 0, len(tree))
	for _, id := range sortedKeys(tree) {
		views = append(views, categoryViewOf(tree[id]))
	}
	return rest.Write(w, http.StatusOK, map[string]any{"categories": views})
}

func (s *server) getCategory(w http.ResponseWriter, r *http.Request) error {
	id, err := idOf(r)
	if err != nil {
		return err
	}
	found, err := categories.Load(r.Context(), s.pool, []string{id})
	if err != nil {
		return err
	}
	c := found[id]
	if c == nil {
		return fault.New(fault.NotFound, "category_not_found", "There is no category %s.", id)
	}
	return write(w, http.StatusOK, c.Version, categoryViewOf(c))
}

func categoryViewOf(c *Category) categoryView { return categoryView{c.ID, c.Version, c.Name, c.Parent} }
