package services_test

import (
	"net/http"
	"os"
	"strings"
	"testing"
)

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
