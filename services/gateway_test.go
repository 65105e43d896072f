package services_test

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"quadrille.internal/services"
)

// Where the gateway runs, it is the one way to every public route of every service: no other
// port answers, but for identity's keys, which services ask for themselves.
func TestTheGatewayIsTheOneWayIn(t *testing.T) {
	var names []string
	for _, spec := range services.All() {
		names = append(names, spec.Name)
	}
	p := newProcess(t, names...)
	p.stop(os.Interrupt)
	p.env["QUADRILLE_PUBLIC_PORT"] = "closed"
	p.start()
	door, asked := "http://"+p.addr("gateway", "HTTP_ADDR"), 0
	for _, spec := range services.All() {
		for _, path := range spec.Paths {
			open := slices.Contains(spec.PeerPaths, path)
			if path += "/00000000-0000-0000-0000-000000000000"; open {
				path = "/.well-known/jwks.json"
			}
			status, body := p.request(http.MethodGet, "http://"+p.addr(spec.Name, "HTTP_ADDR")+path, "")
			closed := status == 0 || status == http.StatusForbidden && strings.Contains(string(body), "gateway_only")
			if open == closed {
				t.Errorf("%s answers %s past the gateway: %d %s", spec.Name, path, status, body)
			}
			if status, body := p.request(http.MethodGet, door+path, ""); status == 0 || status >= http.StatusInternalServerError {
				t.Errorf("%s does not answer %s through the gateway: %d %s", spec.Name, path, status, body)
			}
			asked++
		}
	}
	if asked < 10 {
		t.Errorf("only %d routes were asked", asked)
	}
}

// In one process the gateway passes requests to services that have no ports of their own,
// and answers for one that does not run there.
func TestTheGatewayReachesTheServicesOfTheProcess(t *testing.T) {
	p := newProcess(t, "gateway", "order")
	p.stop(os.Interrupt)
	p.env["QUADRILLE_PUBLIC_PORT"] = "closed"
	p.start()
	door := "http://" + p.addr("gateway", "HTTP_ADDR")
	for path, want := range map[string]struct {
		status int
		holds  string
	}{
		"/v1/orders?customer_id=c1": {http.StatusOK, `"orders":[]`},
		"/v1/orders/1":              {http.StatusBadRequest, "not_a_uuid"},
		"/v1/checkouts":             {http.StatusServiceUnavailable, "service_away"},
		"/v1/nothing":               {http.StatusNotFound, "no_such_route"},
	} {
		if status, body := p.request(http.MethodGet, door+path, ""); status != want.status || !strings.Contains(string(body), want.holds) {
			t.Errorf("%s: %d %s, want %d with %s", path, status, body, want.status, want.holds)
		}
	}
	if status, _ := p.request(http.MethodGet, "http://"+p.addr("order", "HTTP_ADDR")+"/v1/orders", ""); status != 0 {
		t.Errorf("order answers on a port of its own: %d", status)
	}
}
