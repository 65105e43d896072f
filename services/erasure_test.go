package services_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services"
)

// Personal data is in no database but sealed. Once all services of one process have answered,
// the customer's id is in none, and the order is still there.
func TestACustomerIsErasedEverywhere(t *testing.T) {
	master := strings.Repeat("0a", 32)
	t.Setenv("QUADRILLE_IDENTITY_MASTER_KEY", master)
	t.Setenv("QUADRILLE_CUSTOMER_MASTER_KEY", master)
	t.Setenv("QUADRILLE_PRICE_MASTER_KEY", master)
	p := newProcess(t, "identity", "customer", "cart", "price", "checkout", "inventory", "payment", "order", "b2b")
	pools := make(map[string]*pgxpool.Pool)
	for _, spec := range services.All() {
		if url := p.env[setting(spec.Name, "DATABASE_URL")]; url != "" {
			pool, err := pgxpool.New(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(pool.Close)
			pools[spec.Name] = pool
		}
	}
	do := func(service, port, method, path, body string, want int, header ...string) []byte {
		t.Helper()
		status, answer := p.request(method, "http://"+p.addr(service, port)+path, body, header...)
		if status != want {
			t.Fatalf("%s %s of %s: %d %s, want %d", method, path, service, status, answer, want)
		}
		return answer
	}
	found := func(text string) (where []string) {
		t.Helper()
		for name, pool := range pools {
			for _, table := range servicetest.Holding(t, pool, text) {
				where = append(where, name+"."+table)
			}
		}
		return where
	}

	var account struct{ ID uuid.UUID }
	if err := json.Unmarshal(do("identity", "ADMIN_ADDR", "POST", "/v1/accounts/provision",
		`{"email":"zaphod@example.com","password":"correct horse","scopes":[]}`, http.StatusCreated), &account); err != nil {
		t.Fatal(err)
	}
	id := account.ID.String()
	do("customer", "HTTP_ADDR", "PUT", "/v1/customers/"+id+"/profile", `{"name":"Zaphod Quimby","email":"zaphod@example.com"}`, http.StatusOK)
	do("customer", "HTTP_ADDR", "PUT", "/v1/customers/"+id+"/addresses/"+uuid.NewString(),
		`{"recipient":"Zaphod Quimby","lines":["42 Betelgeuse Lane"],"city":"London","country":"GB"}`, http.StatusCreated)
	do("cart", "HTTP_ADDR", "POST", "/v1/carts", "", http.StatusOK, "Quadrille-Caller", id)
	p.stock("TEA", 10)
	var order struct{ ID uuid.UUID }
	if err := json.Unmarshal(do("checkout", "HTTP_ADDR", "POST", "/v1/checkouts", fmt.Sprintf(
		`{"customer_id":%q,"currency":"GBP","payment_token":"tok_success","lines":[{"sku":"TEA","quantity":1,"unit_price":450}]}`, id),
		http.StatusAccepted, "Idempotency-Key", "k1"), &order); err != nil {
		t.Fatal(err)
	}
	servicetest.Await(t, "the order is confirmed", func() bool { return p.status(order.ID) == "confirmed" })
	for _, text := range []string{"Zaphod", "zaphod@example.com", "Betelgeuse"} {
		if where := found(text); len(where) > 0 {
			t.Errorf("%q can be read in %v", text, where)
		}
	}
	if where := found(id); len(where) < 5 {
		t.Errorf("the id is in %v before: this test looks at too little", where)
	}

	do("customer", "HTTP_ADDR", "DELETE", "/v1/customers/"+id, "", http.StatusAccepted)
	servicetest.Await(t, "all have answered", func() bool {
		return !strings.Contains(string(do("customer", "ADMIN_ADDR", "GET", "/v1/erasures", "", http.StatusOK)), id)
	})
	servicetest.Await(t, "the last event is published", func() bool { return len(found(id)) == 0 })
	p.stop(os.Kill) // and nothing that was not committed comes after
	p.start()
	if where := found(id); len(where) > 0 {
		t.Errorf("the id is in %v", where)
	}
	if p.status(order.ID) != "confirmed" {
		t.Error("the order is gone")
	}
}
