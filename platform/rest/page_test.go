package rest_test

import (
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
)

func TestReadPage(t *testing.T) {
	for _, c := range []struct {
		query         string
		limit, cursor int
		field, code   string
	}{
		{"", 50, 7, "", ""}, {"limit=1", 1, 7, "", ""}, {"limit=200&cursor=12", 200, 12, "", ""}, {"cursor=", 50, 7, "", ""},
		{"limit=0", 0, 0, "limit", "out_of_range"}, {"limit=201", 0, 0, "limit", "out_of_range"},
		{"limit=many", 0, 0, "limit", "out_of_range"}, {"cursor=x", 0, 0, "cursor", "not_a_cursor"},
	} {
		limit, cursor, err := rest.ReadPage(httptest.NewRequest("GET", "/?"+c.query, nil), rest.Pages{Default: 50, Most: 200}, 7, strconv.Atoi)
		if c.code == "" && (err != nil || limit != c.limit || cursor != c.cursor) {
			t.Errorf("%q: %d after %d, %v, want %d after %d", c.query, limit, cursor, err, c.limit, c.cursor)
		}
		if f := fault.Of(err); c.code != "" && (f.Kind != fault.Invalid || f.Code != c.code || f.Field != c.field) {
			t.Errorf("%q: %v, want %s %s", c.query, err, c.field, c.code)
		}
	}
}

func TestCutPage(t *testing.T) {
	for _, c := range []struct {
		selected, page []int
		next           string
	}{{nil, nil, ""}, {[]int{1, 2}, []int{1, 2}, ""}, {[]int{1, 2, 3}, []int{1, 2}, "2"}} {
		page, next := rest.CutPage(c.selected, 2, strconv.Itoa)
		if !slices.Equal(page, c.page) || next != c.next {
			t.Errorf("%v: page %v, next %q, want %v and %q", c.selected, page, next, c.page, c.next)
		}
	}
}
