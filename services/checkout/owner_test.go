package checkout

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/servicetest"
)

// guarded is a replica behind an edge.
func (f fixture) guarded(t *testing.T) *servicetest.Client {
	t.Helper()
	p := newPlacer(f.kit.Pool, f.kit.Outbox)
	servicetest.Run(t, p.run)
	s := &server{pool: f.kit.Pool, placer: p, api: f.kit.API}
	return servicetest.Serve(t, func(r chi.Router) {
		s.routes(r.With((&caller.Guard{Required: true}).Handler))
	})
}

// Nobody orders in the name of somebody else, nor sees what others ordered.
func TestCheckoutsAreTheirCustomersOnly(t *testing.T) {
	f := newFixture(t)
	api := f.guarded(t)
	post := func(as string) servicetest.Answer {
		return api.Do(http.MethodPost, "/v1/checkouts", goodBody, "Idempotency-Key", "k", caller.Header, as)
	}
	if a := post("17851"); a.Status != http.StatusForbidden || a.Problem().Code != "not_the_caller" || a.Problem().Field != "customer_id" {
		t.Errorf("in the name of another: %d %s", a.Status, a.Body)
	}
	if a := api.Do(http.MethodPost, "/v1/checkouts", goodBody, "Idempotency-Key", "k"); a.Status != http.StatusUnauthorized {
		t.Errorf("in nobody's name: %d %s", a.Status, a.Body)
	}
	f.checkPlaced(t, 0)

	placed := post("customer-17850")
	if placed.Status != http.StatusAccepted {
		t.Fatalf("in his own name: %d %s", placed.Status, placed.Body)
	}
	get := func(path, as string) servicetest.Answer {
		return api.Do(http.MethodGet, path, "", caller.Header, as)
	}
	if a := get(placed.Header.Get("Location"), "customer-17850"); a.Status != http.StatusOK {
		t.Errorf("his own: %d %s", a.Status, a.Body)
	}
	others, nobodys := get(placed.Header.Get("Location"), "17851"), get("/v1/checkouts/"+uuid.NewString(), "17851")
	if others.Status != http.StatusNotFound || others.Problem().Detail != nobodys.Problem().Detail || others.Problem().Code != nobodys.Problem().Code {
		t.Errorf("somebody else's checkout answers %s, none %s", others.Body, nobodys.Body)
	}
}

// Keys are each customer's own: two may both count their orders from 1.
func TestTwoCustomersMayUseTheSameKey(t *testing.T) {
	f := newFixture(t)
	for name, api := range map[string]*servicetest.Client{"no edge": f.replica(t), "behind an edge": f.guarded(t)} {
		t.Run(name, func(t *testing.T) {
			key := "PO-1 of " + name
			key = strings.ReplaceAll(key, " ", "-")
			post := func(customer, token string) servicetest.Answer {
				body := strings.NewReplacer("customer-17850", customer, "tok_success", token).Replace(goodBody)
				return api.Do(http.MethodPost, "/v1/checkouts", body, "Idempotency-Key", key, caller.Header, customer)
			}
			first, second := post("ann", "tok_success"), post("bob", "tok_success")
			if first.Status != http.StatusAccepted || second.Status != http.StatusAccepted || first.Body == second.Body {
				t.Fatalf("%d %s and %d %s, want two orders", first.Status, first.Body, second.Status, second.Body)
			}
			for customer, want := range map[string]string{"ann": first.Body, "bob": second.Body} {
				if again := post(customer, "tok_success"); again.Status != http.StatusAccepted || again.Body != want {
					t.Errorf("%s again: %d %s, want %s", customer, again.Status, again.Body, want)
				}
				if other := post(customer, "tok_slow"); other.Status != http.StatusUnprocessableEntity || other.Problem().Code != "idempotency_mismatch" {
					t.Errorf("%s with another body: %d %s", customer, other.Status, other.Body)
				}
			}
		})
	}
	f.checkPlaced(t, 4)
}

// Two customers' requests with one key are also told apart while they are under way
// and in one batch, and so are their repetitions.
func TestTwoCustomersUseTheSameKeyAtOnce(t *testing.T) {
	f := newFixture(t)
	inOneBatch := func() map[string]string {
		p := newPlacer(f.kit.Pool, f.kit.Outbox) // not running yet: requests wait
		api := servicetest.Serve(t, (&server{pool: f.kit.Pool, placer: p, api: f.kit.API}).routes)
		type answer struct {
			customer string
			servicetest.Answer
		}
		answers, bodies := make(chan answer, 2), make(map[string]string)
		for n, customer := range []string{"ann", "bob"} {
			body := strings.Replace(goodBody, "customer-17850", customer, 1)
			go func() {
				answers <- answer{customer, api.Do(http.MethodPost, "/v1/checkouts", body, "Idempotency-Key", "PO-1")}
			}()
			servicetest.Await(t, customer+"'s request is under way", func() bool { return p.group.Waiting() == n+1 })
		}
		servicetest.Run(t, p.run)
		for range 2 {
			a := <-answers
			if a.Status != http.StatusAccepted {
				t.Errorf("%s is answered %d %s", a.customer, a.Status, a.Body)
			}
			bodies[a.customer] = a.Body
		}
		return bodies
	}
	first := inOneBatch()
	if again := inOneBatch(); first["ann"] == first["bob"] || !maps.Equal(again, first) {
		t.Errorf("answered %v, then %v", first, again)
	}
	f.checkPlaced(t, 2)
}
