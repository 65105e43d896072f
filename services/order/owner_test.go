package order

import (
	"net/http"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"quadrille.internal/events/checkout"
	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/servicetest"
)

// An order is its customer's only. For others it does not exist: the answer is that
// to an id that nobody has.
func TestOrdersAreTheirCustomersOnly(t *testing.T) {
	f := newFixture(t)
	in := servicetest.RunInbox(t, f.kit, serverOf(f.kit).handle)
	s := serverOf(f.kit)
	api := servicetest.Serve(t, func(r chi.Router) {
		s.routes(r.With((&caller.Guard{Required: true}).Handler))
	})
	operators := servicetest.Serve(t, s.operatorRoutes)
	id := uuid.Must(uuid.NewV7())
	tell(t, in, id, checkout.TypeOrderCreated) // by 17850
	mine, other := []string{caller.Header, "17850"}, []string{caller.Header, "17851"}
	one := "/v1/orders/" + id.String()

	for _, c := range []struct {
		method, path string
		as           []string
		status       int
		code, field  string
	}{
		{"GET", one, nil, 401, "caller_unknown", ""},
		{"GET", one, other, 404, "order_not_found", ""},
		{"POST", one + "/cancel", other, 404, "order_not_found", ""},
		{"GET", "/v1/orders?customer_id=17850", other, 403, "not_the_caller", "customer_id"},
		{"GET", "/v1/orders?customer_id=17851", mine, 403, "not_the_caller", "customer_id"},
		{"GET", one, mine, 200, "", ""},
		{"GET", "/v1/orders?customer_id=17850", mine, 200, "", ""},
		{"GET", "/v1/orders?customer_id=17851", other, 200, "", ""},
	} {
		a := api.Do(c.method, c.path, "", c.as...)
		if p := a.Problem(); a.Status != c.status || p.Code != c.code || p.Field != c.field {
			t.Errorf("%s %s as %v: %d %s, want %d %s", c.method, c.path, c.as, a.Status, a.Body, c.status, c.code)
		}
	}
	nobodys := api.Do("GET", "/v1/orders/"+uuid.NewString(), "", other...).Problem()
	if others := api.Do("GET", one, "", other...).Problem(); others.Detail != nobodys.Detail || others.Code != nobodys.Code {
		t.Errorf("somebody else's order answers %+v, no order %+v", others, nobodys)
	}
	if a := operators.Do("GET", one, ""); a.Status != http.StatusOK {
		t.Errorf("an operator is answered %d %s", a.Status, a.Body)
	}
	if a := operators.Do("POST", one+"/cancel", ""); a.Status != http.StatusOK {
		t.Errorf("an operator's cancellation is answered %d %s", a.Status, a.Body)
	}
}
