package catalog

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/events"
	"quadrille.internal/events/catalog"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
	"quadrille.internal/services/catalog/search"
)

// Bounds of a search.
const (
	searchPage    = 24
	maxSearchPage = 100
	maxQuery      = 200
	maxFilters    = 20
	maxFacets     = 10
)

// hitView is a product among the hits of a search.
type hitView struct {
	ID         string   `json:"id"`
	Version    int64    `json:"version"`
	Title      string   `json:"title"`
	Categories []string `json:"categories"`
	SKUs       []string `json:"skus"`
	// InStock is whether any variant is.
	InStock bool `json:"in_stock"`
	// Price is the lowest of the variants, in the shop's currency.
	Price *priceView `json:"price,omitempty"`
	// Image is the first that there is.
	Image *catalog.Media `json:"image,omitempty"`
}

type totalView struct {
	Count int  `json:"count"`
	Exact bool `json:"exact"`
}

type facetView struct {
	Name   string      `json:"name"`
	Values []valueView `json:"values"`
}

type valueView struct {
	Value string `json:"value"`
	Count int    `json:"count"`
}

type searchView struct {
	Hits   []hitView   `json:"hits"`
	Total  *totalView  `json:"total,omitempty"`
	Facets []facetView `json:"facets,omitempty"`
	Next   string      `json:"next_cursor,omitempty"`
}

var errNotReady = fault.New(fault.Unavailable, "search_not_ready", "The search index is being built; try again shortly.")

// search answers with products that fit. The index says which these are; what is shown of
// them is read now, so that it is as new as what catalog knows.
func (s *server) search(w http.ResponseWriter, r *http.Request) error {
	q, err := s.readQuery(r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	result, err := s.engine.Search(ctx, q)
	if err != nil {
		return unavailable(err)
	}
	view := searchView{}
	if view.Hits, err = s.hits(ctx, result.IDs); err != nil {
		return err
	}
	if result.Next != nil {
		view.Next = result.Next.String()
	}
	if q.After == nil {
		view.Total = &totalView{result.Total, result.Exact}
		for _, f := range result.Facets {
			values := make([]valueView, len(f.Values))
			for i, v := range f.Values {
				values[i] = valueView(v)
			}
			view.Facets = append(view.Facets, facetView{f.Name, values})
		}
	}
	return rest.Write(w, http.StatusOK, view)
}

// unavailable says of an engine's error what passes by itself.
func unavailable(err error) error {
	switch {
	case errors.Is(err, search.ErrNotReady):
		return errNotReady
	case errors.Is(err, search.ErrUnavailable):
		return &fault.Fault{Kind: fault.Unavailable, Code: "search_unavailable", Message: "Searching is not possible now; try again shortly.", Cause: err}
	default:
		return err
	}
}

// hits reads what is shown of products. One that is no longer published is left out.
func (s *server) hits(ctx context.Context, ids []string) ([]hitView, error) {
	views := make([]hitView, 0, len(ids))
	if len(ids) == 0 {
		return views, nil
	}
	var shown []hit
	var offers map[string]offer
	var b pgx.Batch
	b.Queue(`
		select id, version, title, categories, variants, media from products
		where id = any($1) and state = 'published' order by array_position($1, id)`, ids).
		Query(func(rows pgx.Rows) (err error) {
			shown, err = pgx.CollectRows(rows, pgx.RowToStructByPos[hit])
			return err
		})
	b.Queue(offersOf, ids).Query(func(rows pgx.Rows) (err error) {
		offers, err = readOffers(rows)
		return err
	})
	if err := s.pool.SendBatch(ctx, &b).Close(); err != nil {
		return nil, fmt.Errorf("read what was found: %w", err)
	}
	for _, h := range shown {
		views = append(views, h.view(offers, s.currency))
	}
	return views, nil
}

// hit is what is read of a product that was found.
type hit struct {
	ID         string
	Version    int64
	Title      string
	Categories []string
	Variants   []catalog.Variant
	Media      []catalog.Media
}

func (h hit) view(offers map[string]offer, currency string) hitView {
	skus := (&Content{Variants: h.Variants}).SKUs()
	v := hitView{ID: h.ID, Version: h.Version, Title: h.Title, Categories: h.Categories, SKUs: skus}
	all := cheapest(skus, offers, currency)
	v.InStock = all.inStock != nil && *all.inStock
	for _, cost := range all.prices {
		shown := priceViewOf(cost)
		v.Price = &shown
	}
	if i := slices.IndexFunc(h.Media, func(m catalog.Media) bool { return m.Kind == "image" }); i >= 0 {
		v.Image = &h.Media[i]
	}
	return v
}

// readQuery reads the parameters of a search.
func (s *server) readQuery(r *http.Request) (q search.Query, err error) {
	values := r.URL.Query()
	if q.Limit, err = (rest.Pages{Default: searchPage, Most: maxSearchPage}).Limit(r); err != nil {
		return q, err
	}
	text := values.Get("q")
	if !utf8.ValidString(text) || utf8.RuneCountInString(text) > maxQuery {
		return q, fault.Field("q", "out_of_range", "q has %d characters at most.", maxQuery)
	}
	q.Terms, q.Worded = search.Terms(text), strings.TrimSpace(text) != ""
	if q.Filters, err = readFilters(values); err != nil {
		return q, err
	}
	switch values.Get("in_stock") {
	case "", "false":
	case "true":
		q.InStock = true
	default:
		return q, fault.Field("in_stock", "malformed", "in_stock is true or false.")
	}
	if q.MinPrice, err = amountOf(values, "min_price"); err != nil {
		return q, err
	}
	if q.MaxPrice, err = amountOf(values, "max_price"); err != nil {
		return q, err
	}
	q.Sort = search.Sort(values.Get("sort"))
	switch q.Sort {
	case "":
		q.Sort = search.Relevance
	case search.Relevance, search.Newest, search.Title, search.Cheapest, search.Dearest:
	default:
		return q, fault.Field("sort", "malformed", "sort is relevance, newest, title, price or -price.")
	}
	if q.Facets, err = readFacets(values); err != nil {
		return q, err
	}
	if cursor := values.Get("cursor"); cursor != "" {
		q.After, err = search.ParseCursor(cursor, s.engine.Name())
		if err != nil || !q.Fits(q.After) {
			return q, fault.Field("cursor", "not_a_cursor", "cursor is the next_cursor of the page before, with the same q and sort.")
		}
	}
	return q, nil
}

// amountOf reads an amount in minor units.
func amountOf(values url.Values, name string) (*int64, error) {
	text := values.Get(name)
	if text == "" {
		return nil, nil //nolint:nilnil // without one, there is no bound
	}
	amount, err := strconv.ParseInt(text, 10, 64)
	if err != nil || amount < 0 || amount > events.MaxUnitPrice {
		return nil, fault.Field(name, "out_of_range", "%s is a number from 0 to %d, in minor units.", name, events.MaxUnitPrice)
	}
	return &amount, nil
}

// readFilters reads category=id and attribute=name:value, which may be there several times.
func readFilters(values url.Values) (map[string][]string, error) {
	if len(values["category"])+len(values["attribute"]) > maxFilters {
		return nil, fault.Field("attribute", "out_of_range", "There may be %d filters.", maxFilters)
	}
	filters := make(map[string][]string)
	for _, id := range values["category"] {
		if err := events.CheckName("category", id); err != nil {
			return nil, err
		}
		filters[CategoryFacet] = append(filters[CategoryFacet], id)
	}
	for _, pair := range values["attribute"] {
		name, value, _ := strings.Cut(pair, ":")
		if !attributeName.MatchString(name) || name == CategoryFacet {
			return nil, fault.Field("attribute", "malformed", "attribute is name:value, such as colour:blue.")
		}
		if err := checkText("attribute", value, 1, maxValue); err != nil {
			return nil, err
		}
		filters[name] = append(filters[name], value)
	}
	return filters, nil
}

func readFacets(values url.Values) ([]string, error) {
	names := values["facet"]
	if len(names) > maxFacets {
		return nil, fault.Field("facet", "out_of_range", "Ask for %d facets at most.", maxFacets)
	}
	for i, name := range names {
		if !attributeName.MatchString(name) {
			return nil, fault.Field("facet", "malformed", "facet is %s or the name of an attribute.", CategoryFacet)
		}
		if slices.Contains(names[:i], name) {
			return nil, fault.Field("facet", "repeated", "Each facet may be asked for once.")
		}
	}
	return names, nil
}

// versionTag is the one form of an entity tag that is taken.
func versionTag(header string) (int64, bool) {
	if len(header) < 3 || header[0] != '"' || header[len(header)-1] != '"' {
		return 0, false
	}
	version, err := strconv.ParseInt(header[1:len(header)-1], 10, 64)
	return version, err == nil && version > 0
}
