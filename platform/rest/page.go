package rest

import (
	"net/http"
	"strconv"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"quadrille.internal/platform/fault"
)

// Pages says how many entries a page of a list has.
type Pages struct{ Default, Most int }

// Limit reads how many entries a request wants.
func (p Pages) Limit(r *http.Request) (int, error) {
	v := r.URL.Query().Get("limit")
	if v == "" {
		return p.Default, nil
	}
	limit, err := strconv.Atoi(v)
	if err != nil || limit < 1 || limit > p.Most {
		return 0, fault.Field("limit", "out_of_range", "limit is a number from 1 to %d.", p.Most)
	}
	return limit, nil
}

// ReadPage reads limit and cursor of a request. The first page begins at first; parse
// reads the cursor of another.
func ReadPage[C any](r *http.Request, p Pages, first C, parse func(string) (C, error)) (limit int, cursor C, err error) {
	if limit, err = p.Limit(r); err != nil {
		return 0, first, err
	}
	v := r.URL.Query().Get("cursor")
	if v == "" {
		return limit, first, nil
	}
	if cursor, err = parse(v); err != nil {
		return 0, first, fault.Field("cursor", "not_a_cursor", "cursor is the next_cursor of the page before.")
	}
	return limit, cursor, nil
}

// CutPage returns the entries of a page, and the cursor of the next one, which is "" if
// there is none. Select one entry more than limit: it tells that there is.
func CutPage[T any](selected []T, limit int, cursor func(last T) string) (page []T, next string) {
	if len(selected) <= limit {
		return selected, ""
	}
	return selected[:limit], cursor(selected[limit-1])
}

// PathID returns the UUID that the request's path has as {id}. hint is for callers
// whose path has none.
func PathID(r *http.Request, hint string) (uuid.UUID, error) {
	id, err := uuid.Parse(chi.URLParam(r, "id"))
	if err != nil {
		return id, fault.Field("id", "not_a_uuid", "%s", hint)
	}
	return id, nil
}
