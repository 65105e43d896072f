package verify

import (
	"crypto/sha256"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/quad/books"
)

// Who is erased is found wherever something of that customer is left, or came back.
func TestResidueOfErasedCustomers(t *testing.T) {
	dbs := map[string]*pgxpool.Pool{}
	for _, service := range []string{"checkout", "order", "inventory", "customer"} {
		dbs[service] = pgtest.Open(t, os.DirFS("../../services/"+service))
	}
	src := &Sources{Databases: dbs, Services: books.All()}
	here, there, alive := "erased-in-order", "erased-everywhere", "alive"
	digest := func(id string) []byte { d := sha256.Sum256([]byte(id)); return d[:] }
	exec := func(service, sql string, args ...any) {
		t.Helper()
		if _, err := dbs[service].Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec("order", `insert into erasures (digest, traceparent, asked_at, look_at, erased_at) values ($1, '', now(), now(), now())`, digest(here))
	exec("customer", `insert into erasure_requests (digest, traceparent, requested_at, deadline, told_at, erased_at, ended_at)
		values ($1, '', now(), now(), now(), now(), now())`, digest(there))
	order := func(id string) {
		exec("order", `insert into orders (id, status, customer_id, amount, currency, traceparent, version) values (gen_random_uuid(), 'pending', $1, 0, '', '', 1)`, id)
	}
	parked := func(service, id string) {
		exec(service, `insert into parked (consumer, event_id, topic, cause, attempts, traceparent, payload)
			values ('x', gen_random_uuid(), 'x', '', 1, '', convert_to($1, 'UTF8'))`, `{"data":{"customer_id":"`+id+`"}}`)
	}
	check := func(want ...string) {
		t.Helper()
		got, err := src.erased(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, o := range got.Offenders {
			found = append(found, o.ID+" "+o.Problem)
		}
		if got.Checked != 1 || len(found) != len(want) {
			t.Fatalf("found %q of %d, want %q", found, got.Checked, want)
		}
		for n := range want {
			if !strings.HasPrefix(found[n], want[n]) {
				t.Errorf("found %q, want %q", found[n], want[n])
			}
		}
	}
	order(alive)
	parked("inventory", alive)
	exec("checkout", `insert into checkouts (id, idempotency_key, request_hash, customer_id, lines, amount, currency, traceparent, status, placed_at, version)
		values (gen_random_uuid(), 'k', '', $1, '[]', 0, 'GBP', '', 'confirmed', now(), 1)`, here) // not erased there yet
	check()
	order(here)
	check("order " + here + " erased, and yet in 1 row of orders")
	order(there)
	parked("inventory", there)
	check("inventory "+there+" erased, and yet in a parked event", "order "+there, "order "+here)
}

// The one place of personal data may come back from a backup that is older than the request:
// then only the others know who is erased.
func TestCustomerIsRestoredFromBeforeAnErasure(t *testing.T) {
	dbs := map[string]*pgxpool.Pool{}
	for _, service := range []string{"order", "customer"} {
		dbs[service] = pgtest.Open(t, os.DirFS("../../services/"+service))
	}
	src := &Sources{Databases: dbs, Services: books.All()}
	exec := func(service, sql string, args ...any) {
		t.Helper()
		if _, err := dbs[service].Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"restored", "asked", "alive"} {
		exec("customer", `insert into customers (id, profile, created_at, changed_at) values ($1, '', now(), now())`, id)
		exec("customer", `insert into data_keys (customer_id, sealed) values ($1, '')`, id)
	}
	erased := `insert into erasures (digest, traceparent, asked_at, look_at, erased_at) values (sha256($1::bytea), '', now(), now(), now())`
	exec("order", erased, []byte("restored"))
	// order has erased this one, and others have not answered yet: the address may be needed.
	exec("order", erased, []byte("asked"))
	exec("customer", `insert into erasure_requests (digest, customer_id, traceparent, requested_at, deadline, told_at)
		values (sha256($1::bytea), 'asked', '', now(), now(), now())`, []byte("asked"))
	got, err := src.erased(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Offenders) != 1 || got.Offenders[0].ID != "customer restored" || !strings.Contains(got.Offenders[0].Problem, "backup") {
		t.Errorf("found %+v, want the one who was restored", got.Offenders)
	}
}
