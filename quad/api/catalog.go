package api

import (
	"context"
	"net/http"
	"net/url"
)

// Imported is what became of lines that were to be products.
type Imported struct {
	Lines     int             `json:"lines"`
	Created   int             `json:"created"`
	Changed   int             `json:"changed"`
	Unchanged int             `json:"unchanged"`
	Refused   int             `json:"refused"`
	Problems  []ImportProblem `json:"problems"`
}

// ImportProblem says why a line was refused.
type ImportProblem struct {
	Line    int    `json:"line"`
	Code    string `json:"code"`
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
}

// ImportProducts writes products, one a line of JSON. It may be repeated.
func (a *Admin) ImportProducts(ctx context.Context, lines []byte) (Imported, error) {
	r := a.access.request(http.MethodPost, "/v1/products/import")
	r.lines = lines
	return call[Imported](ctx, a.sender, r)
}

// SearchIndex is how far catalog's search is.
type SearchIndex struct {
	Engine  string `json:"engine"`
	Indexes []struct {
		Name     string `json:"name"`
		Status   string `json:"status"`
		FilledTo string `json:"filled_to"`
		Stale    bool   `json:"stale"`
	} `json:"indexes"`
	Waiting struct {
		Changes       int64 `json:"changes"`
		OldestSeconds int64 `json:"oldest_seconds"`
	} `json:"waiting"`
}

// SearchIndex returns it.
func (a *Admin) SearchIndex(ctx context.Context) (SearchIndex, error) {
	return call[SearchIndex](ctx, a.sender, a.access.request(http.MethodGet, "/v1/search/index"))
}

// BuildSearchIndex has the index built again beside the live one.
func (a *Admin) BuildSearchIndex(ctx context.Context) (SearchIndex, error) {
	return call[SearchIndex](ctx, a.sender, a.access.request(http.MethodPost, "/v1/search/index"))
}

// SearchFault is a product of which the search index has something else than the catalog.
type SearchFault struct {
	ProductID string `json:"product_id"`
	Problem   string `json:"problem"`
}

// SearchFaults compares the index with the catalog, all products of it.
func (a *Admin) SearchFaults(ctx context.Context) (compared int, faults []SearchFault, err error) {
	query := url.Values{"limit": {"500"}}
	for {
		page, err := call[struct {
			Compared int           `json:"compared"`
			Faults   []SearchFault `json:"faults"`
			Next     string        `json:"next_cursor"`
		}](ctx, a.sender, a.access.request(http.MethodGet, "/v1/search/faults?"+query.Encode()))
		if err != nil {
			return compared, faults, err
		}
		compared, faults = compared+page.Compared, append(faults, page.Faults...)
		if page.Next == "" {
			return compared, faults, nil
		}
		query.Set("cursor", page.Next)
	}
}
