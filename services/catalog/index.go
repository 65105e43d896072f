package catalog

import (
	"context"
	"fmt"
	"net/http"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/events"
	"quadrille.internal/platform/rest"
	"quadrille.internal/services/catalog/search"
)

// indexView is an index as operators see it.
type indexView struct {
	Name     string `json:"name"`
	Status   string `json:"status"`
	FilledTo string `json:"filled_to,omitempty"`
	Stale    bool   `json:"stale"`
}

type indexesView struct {
	Engine  string      `json:"engine"`
	Indexes []indexView `json:"indexes"`
	// Waiting are the changes that the index has yet to hear of.
	Waiting waitingView `json:"waiting"`
}

type waitingView struct {
	Changes       int64 `json:"changes"`
	OldestSeconds int64 `json:"oldest_seconds"`
}

func (s *server) getIndex(w http.ResponseWriter, r *http.Request) error {
	return s.answerIndex(w, r, http.StatusOK)
}

// reindex has an index built beside the live one, which it then replaces.
func (s *server) reindex(w http.ResponseWriter, r *http.Request) error {
	if err := s.builder.begin(r.Context()); err != nil {
		return err
	}
	s.changed()
	return s.answerIndex(w, r, http.StatusAccepted)
}

func (s *server) answerIndex(w http.ResponseWriter, r *http.Request, status int) error {
	all, err := s.builder.indexes(r.Context())
	if err != nil {
		return err
	}
	view := indexesView{Engine: s.engine.Name(), Indexes: make([]indexView, len(all))}
	for i, x := range all {
		view.Indexes[i] = indexView{x.Name, x.Status, x.FilledTo, x.Stale}
	}
	if view.Waiting.OldestSeconds, view.Waiting.Changes, err = waiting(r.Context(), s.pool); err != nil {
		return err
	}
	return rest.Write(w, status, view)
}

const (
	comparedPage    = 200
	maxComparedPage = 500
)

// faultView is a product of which the index has something else than the catalog.
type faultView struct {
	ProductID string `json:"product_id"`
	Problem   string `json:"problem"`
}

// compare holds a page of products against the live index, whatever engine keeps it.
func (s *server) compare(w http.ResponseWriter, r *http.Request) error {
	limit, behind, err := rest.ReadPage(r, rest.Pages{Default: comparedPage, Most: maxComparedPage}, "", parseProductCursor)
	if err != nil {
		return err
	}
	compared, faults, err := s.faults(r.Context(), behind, limit)
	if err != nil {
		return unavailable(err)
	}
	view := struct {
		Compared int         `json:"compared"`
		Faults   []faultView `json:"faults"`
		Next     string      `json:"next_cursor,omitempty"`
	}{Compared: len(compared), Faults: faults}
	if len(compared) == limit {
		view.Next = compared[limit-1]
	}
	return rest.Write(w, http.StatusOK, view)
}

// faults compares the products behind one. The index is read first: what changes meanwhile
// is among the changes that wait, or was when the catalog is read.
func (s *server) faults(ctx context.Context, behind string, limit int) (ids []string, faults []faultView, err error) {
	rows, err := s.pool.Query(ctx, `select id from products where id > $1 order by id limit $2`, behind, limit)
	if err != nil {
		return nil, nil, fmt.Errorf("read products: %w", err)
	}
	if ids, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		return nil, nil, fmt.Errorf("read products: %w", err)
	}
	faults = []faultView{}
	if len(ids) == 0 {
		return ids, faults, nil
	}
	live, err := s.liveIndex(ctx)
	if err != nil {
		return nil, nil, err
	}
	if live == "" {
		return nil, nil, errNotReady
	}
	stored, err := s.engine.Read(ctx, live, ids)
	if err != nil {
		return nil, nil, fmt.Errorf("read the search index: %w", err)
	}
	settled, err := s.settledDocuments(ctx, ids)
	if err != nil {
		return nil, nil, err
	}
	var later []search.Document
	for _, d := range settled {
		has, there := stored[d.ID]
		switch problem := differs(d, has, there); {
		case problem == "":
		case there && has.Version < d.Version:
			later = append(later, d)
		case !there || has.Version == d.Version:
			faults = append(faults, faultView{d.ID, problem})
		}
	}
	stale, err := s.stale(ctx, live, later)
	return ids, append(faults, stale...), err
}

func (s *server) liveIndex(ctx context.Context) (name string, err error) {
	err = s.pool.QueryRow(ctx, `select coalesce(max(name), '') from search_indexes where engine = $1 and status = 'live'`, s.engine.Name()).Scan(&name)
	if err != nil {
		return "", fmt.Errorf("read indexes: %w", err)
	}
	return name, nil
}

// settledDocuments are what the index should have of those products for which no change waits.
func (s *server) settledDocuments(ctx context.Context, ids []string) (settled []search.Document, err error) {
	err = pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		now, err := readSource(ctx, tx, ids)
		if err != nil {
			return err
		}
		waiting, err := pairs(ctx, tx, `select distinct product_id, '' from search_changes where product_id = any($1)`, ids)
		if err != nil {
			return fmt.Errorf("read changes that wait: %w", err)
		}
		for _, d := range now.documents(ids, s.currency) {
			if _, waits := waiting[d.ID]; !waits {
				settled = append(settled, d)
			}
		}
		return nil
	})
	return settled, err
}

// stale looks once more at documents of which the index had an older version. One that was
// written since it was read is there now, as no change waits for it.
func (s *server) stale(ctx context.Context, live string, settled []search.Document) (faults []faultView, err error) {
	if len(settled) == 0 {
		return nil, nil
	}
	ids := make([]string, len(settled))
	for i, d := range settled {
		ids[i] = d.ID
	}
	stored, err := s.engine.Read(ctx, live, ids)
	if err != nil {
		return nil, fmt.Errorf("read the search index: %w", err)
	}
	if now, err := s.liveIndex(ctx); err != nil || now != live { // another took its place, and changes no longer come to it
		return nil, err
	}
	for _, d := range settled {
		has := stored[d.ID]
		if problem := differs(d, has, true); problem != "" && has.Version < d.Version {
			faults = append(faults, faultView{d.ID, problem})
		}
	}
	return faults, nil
}

// differs says what an index has wrong of a product, or "".
func differs(d search.Document, has search.Stored, there bool) string {
	switch {
	case d.Deleted && there && !has.Deleted:
		return "it is found, and is not published"
	case d.Deleted:
		return ""
	case !there || has.Deleted:
		return "it is published, and not found"
	case has.Revision != d.Revision:
		return fmt.Sprintf("the index has version %d, the catalog %d", has.Revision, d.Revision)
	case has.InStock != d.InStock:
		return fmt.Sprintf("in stock: the index says %t, the catalog %t", has.InStock, d.InStock)
	case !same(has.Price, d.Price):
		return "the index has another price"
	default:
		return ""
	}
}

func same(a, b *int64) bool { return a == b || a != nil && b != nil && *a == *b }

func parseProductCursor(text string) (string, error) { return text, events.CheckName("cursor", text) }
