package cart

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/servicetest"
)

func TestLines(t *testing.T) {
	f := newFixture(t)
	api := f.serve(t)
	for name, s := range map[string]*shopper{"guest": f.guest(t, api), "customer": f.customer(t, api, "c1")} {
		s.put("a", "2")
		s.put("b", "1")
		s.put("a", "5")
		if a := s.do(http.MethodDelete, "/lines/b", ""); a.Status != http.StatusOK {
			t.Errorf("%s: delete: %d %s", name, a.Status, a.Body)
		}
		if got := s.lines(); !maps.Equal(got, map[string]int64{"a": 5}) {
			t.Errorf("%s: the cart has %v", name, got)
		}
	}
	if first, again := f.customer(t, api, "c1"), f.customer(t, api, "c1"); first.id != again.id {
		t.Errorf("a customer has two carts")
	}
}

// A cart is its owner's: nobody else learns that it exists.
func TestCartsOfOthers(t *testing.T) {
	f := newFixture(t)
	api := f.serve(t)
	guest, customer := f.guest(t, api), f.customer(t, api, "c1")
	other := f.guest(t, api)
	for name, c := range map[string]struct {
		cart    *shopper
		headers []string
	}{
		"a guest without a token":         {guest, nil},
		"a guest with another's token":    {guest, []string{tokenHeader, other.token}},
		"a guest's by a customer":         {guest, as("c1")},
		"a customer's by another":         {customer, as("c2")},
		"a customer's by a guest's token": {customer, as("c2", tokenHeader, guest.token)},
	} {
		for _, request := range [][3]string{
			{http.MethodGet, ""}, {http.MethodPut, "/lines/a", `{"quantity": 1}`}, {http.MethodDelete, "/lines/a"},
		} {
			a := api.Do(request[0], "/v1/carts/"+c.cart.id+request[1], request[2], c.headers...)
			if a.Status != http.StatusNotFound || a.Problem().Code != "cart_not_found" {
				t.Errorf("%s: %s: %d %s", name, request, a.Status, a.Body)
			}
		}
	}
	var stored string
	if err := f.kit.Pool.QueryRow(t.Context(), `select string_agg(c::text, ' ') from carts c`).Scan(&stored); err != nil || strings.Contains(stored, guest.token) {
		t.Errorf("the token itself is stored: %s, %v", stored, err)
	}
}

func TestRefusals(t *testing.T) {
	f := newFixture(t)
	api := f.serve(t)
	s := f.guest(t, api)
	for _, c := range []struct {
		method, path, body string
		status             int
		code, field        string
	}{
		{"GET", "/v1/carts/7", "", 400, "not_a_uuid", "id"},
		{"GET", "/v1/carts/" + uuid.NewString(), "", 404, "cart_not_found", ""},
		{"PUT", "/v1/carts/" + s.id + "/lines/a", `{}`, 400, "required", "quantity"},
		{"PUT", "/v1/carts/" + s.id + "/lines/a", `{"quantity": -1}`, 400, "out_of_range", "quantity"},
		{"PUT", "/v1/carts/" + s.id + "/lines/a", `{"quantity": 1000001}`, 400, "out_of_range", "quantity"},
		{"PUT", "/v1/carts/" + s.id + "/lines/a", `{"quantity": 1, "unit_price": 1}`, 400, "unknown_field", "unit_price"},
		{"PUT", "/v1/carts/" + s.id + "/lines/a%20b", `{"quantity": 1}`, 400, "malformed", "sku"},
		{"PUT", "/v1/carts/7/lines/a", `{"quantity": 1}`, 400, "not_a_uuid", "id"},
		{"POST", "/v1/carts/merge", `{"cart_id": "` + s.id + `", "token": "x"}`, 401, "caller_unknown", ""},
		{"POST", "/v1/carts/merge", `{"token": "x"}`, 400, "required", "cart_id"},
		{"POST", "/v1/carts/merge", `{"cart_id": "` + s.id + `"}`, 400, "required", "token"},
	} {
		a := api.Do(c.method, c.path, c.body, s.headers...)
		if p := a.Problem(); a.Status != c.status || p.Code != c.code || p.Field != c.field {
			t.Errorf("%s %s %s: %d %s, want %d %s %s", c.method, c.path, c.body, a.Status, a.Body, c.status, c.code, c.field)
		}
	}
}

// Two tabs that read the same cart: the second to change it is told, if it asks to be.
func TestIfMatch(t *testing.T) {
	f := newFixture(t)
	s := f.guest(t, f.serve(t))
	read := s.do(http.MethodGet, "", "").Header.Get("ETag")
	first := s.put("a", "1", "If-Match", read)
	if first.Status != http.StatusOK || first.Header.Get("ETag") == read {
		t.Errorf("the first: %d, ETag %s after %s", first.Status, first.Header.Get("ETag"), read)
	}
	if a := s.put("a", "2", "If-Match", read); a.Status != http.StatusPreconditionFailed || a.Problem().Code != "cart_changed" {
		t.Errorf("the second: %d %s", a.Status, a.Body)
	}
	if a := s.put("a", "1", "If-Match", first.Header.Get("ETag")); a.Header.Get("ETag") != first.Header.Get("ETag") {
		t.Errorf("a change of nothing made %s of %s", a.Header.Get("ETag"), first.Header.Get("ETag"))
	}
	for _, match := range []string{"3", `W/"1"`, `"1", "2"`, `"x"`} {
		if a := s.put("a", "1", "If-Match", match); a.Status != http.StatusBadRequest || a.Problem().Field != "If-Match" {
			t.Errorf("If-Match %s: %d %s", match, a.Status, a.Body)
		}
	}
}

// Twenty tabs of one cart change different lines at once: none is lost.
func TestLinesAtOnce(t *testing.T) {
	f := newFixture(t)
	s := f.customer(t, f.serve(t), "c1")
	var tabs sync.WaitGroup
	for n := range 20 {
		tabs.Go(func() {
			if a := s.put(fmt.Sprint("sku-", n), "1"); a.Status != http.StatusOK {
				t.Errorf("%d %s", a.Status, a.Body)
			}
		})
	}
	tabs.Wait()
	if got := s.lines(); len(got) != 20 {
		t.Errorf("%d lines are in the cart, want 20", len(got))
	}
}

// Merging has the higher quantity of each line, removes no line, and has its effect once.
func TestMerge(t *testing.T) {
	f := newFixture(t)
	api := f.serve(t)
	guest, customer := f.guest(t, api), f.customer(t, api, "c1")
	guest.put("a", "3")
	guest.put("b", "1")
	customer.put("b", "4")
	customer.put("c", "2")
	if m := decoded[merged](t, customer.merge(guest), http.StatusOK); m.Left != 0 {
		t.Errorf("%d lines are left in the guest's cart", m.Left)
	}
	if got := customer.lines(); !maps.Equal(got, map[string]int64{"a": 3, "b": 4, "c": 2}) {
		t.Errorf("merged to %v", got)
	}
	customer.put("a", "0")
	customer.put("b", "1")
	decoded[merged](t, customer.merge(guest), http.StatusOK)
	if got := customer.lines(); !maps.Equal(got, map[string]int64{"b": 1, "c": 2}) {
		t.Errorf("merged again to %v: what the customer had taken out is back", got)
	}
}

// A login must not fail for a guest's cart that is gone, or was never there.
func TestMergeOfNoCart(t *testing.T) {
	f := newFixture(t)
	api := f.serve(t)
	gone, wrong, other := f.guest(t, api), f.guest(t, api), f.customer(t, api, "c2")
	wrong.put("a", "1")
	other.put("a", "1")
	gone.id = uuid.NewString()
	other.token = wrong.token
	known := wrong.token
	wrong.token = gone.token
	newcomer := &shopper{t: t, api: api, headers: as("c1")}
	for name, from := range map[string]*shopper{"a cart that is gone": gone, "another token": wrong, "a customer's cart": other} {
		if m := decoded[merged](t, newcomer.merge(from), http.StatusOK); len(m.Cart.Lines) > 0 || m.Left != 0 {
			t.Errorf("%s: merged to %+v", name, m)
		}
	}
	wrong.token, wrong.headers = known, []string{tokenHeader, known}
	if len(wrong.lines()) != 1 || len(other.lines()) != 1 {
		t.Errorf("what was not merged is gone")
	}
}

// Two devices sign in at the same moment, each with a guest's cart of its own, and both
// send their merge twice, while the customer changes the cart on a third.
func TestMergeAtOnceFromTwoDevices(t *testing.T) {
	f := newFixture(t)
	one, two := f.serve(t), f.serve(t)
	for round := range 10 {
		first, second := f.guest(t, one), f.guest(t, two)
		first.put("a", "3")
		first.put("b", "1")
		second.put("a", "2")
		second.put("c", "7")
		customer := &shopper{t: t, api: one, headers: as(fmt.Sprint("c", round))}
		var devices sync.WaitGroup
		for _, d := range []struct{ at, guest *shopper }{
			{&shopper{api: one}, first}, {&shopper{api: two}, first}, {&shopper{api: one}, second}, {&shopper{api: two}, second},
		} {
			d.at.headers = customer.headers
			devices.Go(func() {
				if a := d.at.merge(d.guest); a.Status != http.StatusOK {
					t.Errorf("merge: %d %s", a.Status, a.Body)
				}
			})
		}
		devices.Go(func() {
			var v view
			a := two.Do(http.MethodPost, "/v1/carts", "", customer.headers...)
			if err := json.Unmarshal([]byte(a.Body), &v); err != nil {
				t.Errorf("create: %d %s: %v", a.Status, a.Body, err)
			}
			two.Do(http.MethodPut, "/v1/carts/"+v.ID.String()+"/lines/d", `{"quantity": 1}`, customer.headers...)
		})
		devices.Wait()
		if got := f.customer(t, one, fmt.Sprint("c", round)).lines(); !maps.Equal(got, map[string]int64{"a": 3, "b": 1, "c": 7, "d": 1}) {
			t.Fatalf("merged to %v", got)
		}
	}
}

// What is put into a guest's cart between a merge's reading and its end is not lost. The test
// holds the merge there: it waits for a table that it reads after the carts.
func TestMergeLosesNothingThatComesMeanwhile(t *testing.T) {
	f := newFixture(t)
	api := f.serve(t)
	guest, customer := f.guest(t, api), f.customer(t, api, "c1")
	guest.put("a", "1")
	admin := pgtest.Admin(t, f.kit.Pool)
	waiting := func(n int) func() bool {
		return func() bool {
			var waits int
			err := admin.QueryRow(t.Context(), `select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`).Scan(&waits)
			return err == nil && waits == n
		}
	}
	holding, err := pgtest.Admin(t, f.kit.Pool).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer holding.Rollback(t.Context()) //nolint:errcheck // where the test ended early
	if _, err := holding.Exec(t.Context(), `lock table cart_orders`); err != nil {
		t.Fatal(err)
	}
	var beside sync.WaitGroup
	beside.Go(func() {
		if a := customer.merge(guest); a.Status != http.StatusOK {
			t.Errorf("merge: %d %s", a.Status, a.Body)
		}
	})
	servicetest.Await(t, "the merge has read the carts", waiting(1))
	put := make(chan error, 1)
	go func() {
		_, err := f.kit.Pool.Exec(t.Context(), `
			update carts set lines = lines || '[{"sku": "b", "quantity": 1}]', version = version + 1 where id = $1`, guest.id)
		put <- err
	}()
	servicetest.Await(t, "the cart is changed, or that waits too", func() bool { return len(put) == 1 || waiting(2)() })
	if err := holding.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	beside.Wait()
	if err := <-put; err != nil {
		t.Fatal(err)
	}
	all := guest.lines()
	maps.Copy(all, customer.lines())
	if !maps.Equal(all, map[string]int64{"a": 1, "b": 1}) {
		t.Errorf("the carts have %v", all)
	}
}

// The guest's cart changes while it is merged: each line is in one of the two carts, and
// merging once more brings all of them together.
func TestMergeWhileTheCartChanges(t *testing.T) {
	f := newFixture(t)
	api := f.serve(t)
	guest, customer := f.guest(t, api), f.customer(t, api, "c1")
	var race sync.WaitGroup
	race.Go(func() {
		for n := range 30 {
			if a := guest.put(fmt.Sprint("sku-", n), "1"); a.Status != http.StatusOK {
				t.Errorf("put: %d %s", a.Status, a.Body)
			}
		}
	})
	race.Go(func() {
		for range 10 {
			if a := customer.merge(guest); a.Status != http.StatusOK {
				t.Errorf("merge: %d %s", a.Status, a.Body)
			}
		}
	})
	race.Wait()
	if total := len(guest.lines()) + len(customer.lines()); total != 30 {
		t.Errorf("the carts have %d lines, want 30", total)
	}
	customer.merge(guest)
	if got := customer.lines(); len(got) != 30 || len(guest.lines()) != 0 {
		t.Errorf("merged to %d lines, %d are left", len(got), len(guest.lines()))
	}
}
