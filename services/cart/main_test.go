package cart

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"

	"github.com/go-chi/chi/v5"
	"go.uber.org/goleak"

	pricev1 "quadrille.internal/events/proto/price/v1"
	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
)

func TestMain(m *testing.M) {
	if os.Getenv(crowdRole) != "" {
		playRole()
		return
	}
	goleak.VerifyTestMain(m)
}

func TestMigrations(t *testing.T) { servicetest.CheckMigrations(t, migrations) }

// fixture is the service on a database of its own.
type fixture struct {
	kit    *service.Kit
	prices pricev1.PricesClient
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	return fixture{kit: servicetest.NewKit(t, Service())}
}

func (f fixture) store() *store { return &store{pool: f.kit.Pool, outbox: f.kit.Outbox} }

// serve serves a replica's routes. Requests name their caller as the edge does.
func (f fixture) serve(t *testing.T) *servicetest.Client {
	t.Helper()
	s := &server{store: f.store(), levels: newLevels(nil, 4_000, f.kit.Log), prices: f.prices, api: f.kit.API}
	return servicetest.Serve(t, func(r chi.Router) {
		r.Group(func(r chi.Router) {
			r.Use((&caller.Guard{}).Handler)
			s.routes(r)
		})
	})
}

// as are the headers of a customer's request.
func as(customer string, header ...string) []string {
	return append([]string{caller.Header, customer}, header...)
}

// decoded returns the answer's body, and wants the status.
func decoded[T any](t *testing.T, a servicetest.Answer, status int) (v T) {
	t.Helper()
	if a.Status != status {
		t.Fatalf("answered %d %s, want %d", a.Status, a.Body, status)
	}
	if err := json.Unmarshal([]byte(a.Body), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// shopper uses one cart.
type shopper struct {
	t       *testing.T
	api     *servicetest.Client
	id      string
	token   string
	headers []string
}

func (f fixture) guest(t *testing.T, api *servicetest.Client) *shopper {
	t.Helper()
	v := decoded[view](t, api.Do(http.MethodPost, "/v1/carts", ""), http.StatusCreated)
	return &shopper{t, api, v.ID.String(), v.Token, []string{tokenHeader, v.Token}}
}

func (f fixture) customer(t *testing.T, api *servicetest.Client, id string) *shopper {
	t.Helper()
	v := decoded[view](t, api.Do(http.MethodPost, "/v1/carts", "", as(id)...), http.StatusOK)
	return &shopper{t, api, v.ID.String(), "", as(id)}
}

func (s *shopper) do(method, path, body string, header ...string) servicetest.Answer {
	return s.api.Do(method, "/v1/carts/"+s.id+path, body, append(header, s.headers...)...)
}

func (s *shopper) put(sku string, quantity string, header ...string) servicetest.Answer {
	return s.do(http.MethodPut, "/lines/"+sku, `{"quantity": `+quantity+`}`, header...)
}

// lines returns what is in the cart.
func (s *shopper) lines() map[string]int64 {
	s.t.Helper()
	m := make(map[string]int64)
	for _, l := range decoded[view](s.t, s.do(http.MethodGet, "", ""), http.StatusOK).Lines {
		m[l.SKU] = l.Quantity
	}
	return m
}

// merge merges a guest's cart into a customer's, and returns how many lines are left.
func (s *shopper) merge(guest *shopper) servicetest.Answer {
	return s.api.Do(http.MethodPost, "/v1/carts/merge", `{"cart_id": "`+guest.id+`", "token": "`+guest.token+`"}`, s.headers...)
}
