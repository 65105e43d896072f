package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"quadrille.internal/local/stack"
)

func TestHTTP_BadRequestsGetAProblemWithCodeAndField(t *testing.T) {
	const (
		checkouts = "POST checkout /v1/checkouts"
		nobody    = "00000000-0000-7000-8000-000000000000"
	)
	good := `{"customer_id":"c","currency":"GBP","payment_token":"tok_success","lines":[{"sku":"a","quantity":1,"unit_price":1}]}`
	with := func(old, now string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%s does not hold %s", good, old)
		}
		return strings.Replace(good, old, now, 1)
	}
	for _, c := range []struct {
		call, body  string
		status      int
		code, field string
		header      string // one to set, name: value
	}{
		{call: checkouts, body: good, status: 400, code: "required", field: "Idempotency-Key", header: "Idempotency-Key: "},
		{call: checkouts, body: with(`"c"`, `"c","colour":"red"`), status: 400, code: "unknown_field", field: "colour"},
		{call: checkouts, body: with(`"quantity":1`, `"quantity":"one"`), status: 400, code: "wrong_type", field: "lines.quantity"},
		{call: checkouts, body: with(`"quantity":1`, `"quantity":1.5`), status: 400, code: "wrong_type", field: "lines.quantity"},
		{call: checkouts, body: with(`"quantity":1`, `"quantity":0`), status: 400, code: "out_of_range", field: "lines[0].quantity"},
		{call: checkouts, body: with(`"unit_price":1`, `"unit_price":-1`), status: 400, code: "out_of_range", field: "lines[0].unit_price"},
		{call: checkouts, body: with(`"unit_price":1`, `"unit_price":0`), status: 400, code: "nothing_to_pay", field: "lines"},
		{call: checkouts, body: with(`"a"`, `"no such name"`), status: 400, code: "malformed", field: "lines[0].sku"},
		{call: checkouts, body: with(`"GBP"`, `"pounds"`), status: 400, code: "malformed", field: "currency"},
		{call: checkouts, body: with(`"c"`, `""`), status: 400, code: "malformed", field: "customer_id"},
		{call: checkouts, body: with(`"tok_success"`, `""`), status: 400, code: "malformed", field: "payment_token"},
		{call: checkouts, body: with(`{"sku":"a","quantity":1,"unit_price":1}`, ""), status: 400, code: "out_of_range", field: "lines"},
		{call: checkouts, body: good + good, status: 400, code: "body_malformed"},
		{call: checkouts, body: `{"customer_id":`, status: 400, code: "body_malformed"},
		{call: checkouts, body: with(`"c"`, `"`+strings.Repeat("c", 300<<10)+`"`), status: 413, code: "body_too_large"},
		{call: checkouts, body: good, status: 415, code: "media_type", header: "Content-Type: text/plain"},
		{call: "GET checkout /v1/checkouts", status: 405, code: "method_not_allowed"},
		{call: "GET checkout /v1/checkouts/1", status: 400, code: "not_a_uuid", field: "id"},
		{call: "GET checkout /v1/checkouts/" + nobody, status: 404, code: "checkout_not_found"},

		{call: "PUT inventory.admin /v1/stock/a", body: `{"warehouses":[]}`, status: 400, code: "out_of_range", field: "warehouses"},
		{call: "PUT inventory.admin /v1/stock/a", body: `{"warehouses":[{"warehouse":"w"}]}`, status: 400, code: "out_of_range", field: "warehouses[0].on_hand"},
		{call: "PUT inventory.admin /v1/stock/a", body: `{"warehouses":[{"warehouse":"w","on_hand":-1}]}`, status: 400, code: "out_of_range", field: "warehouses[0].on_hand"},
		{call: "PUT inventory.admin /v1/stock/a", body: `{"warehouses":[{"warehouse":"w","on_hand":1},{"warehouse":"w","on_hand":1}]}`, status: 400, code: "repeated", field: "warehouses[1].warehouse"},
		{call: "PUT inventory.admin /v1/stock/a", body: `{"on_hand":1}`, status: 400, code: "unknown_field", field: "on_hand"},
		{call: "PUT inventory.admin /v1/stock/a", body: `{}`, status: 415, code: "media_type", header: "Content-Type: application/xml"},
		{call: "GET inventory /v1/stock/a%20b", status: 400, code: "malformed", field: "sku"},
		{call: "GET inventory /v1/stock/never-seen", status: 404, code: "sku_not_found"},
		{call: "DELETE inventory /v1/stock/a", status: 405, code: "method_not_allowed"},

		{call: "GET order /v1/orders", status: 400, code: "required", field: "customer_id"},
		{call: "GET order /v1/orders?customer_id=c&limit=0", status: 400, code: "out_of_range", field: "limit"},
		{call: "GET order /v1/orders?customer_id=c&cursor=x", status: 400, code: "not_a_cursor", field: "cursor"},
		{call: "GET order /v1/orders/1", status: 400, code: "not_a_uuid", field: "id"},
		{call: "GET order /v1/orders/" + nobody, status: 404, code: "order_not_found"},
		{call: "POST order /v1/orders/" + nobody + "/cancel", status: 404, code: "order_not_found"},
		{call: "GET order /v1/orders/" + nobody + "/cancel", status: 405, code: "method_not_allowed"},

		// What operators do is on the admin port only.
		{call: "PUT inventory /v1/stock/a", body: `{}`, status: 405, code: "method_not_allowed"},
		{call: "PUT b2b /v1/b2b/companies/acme", body: `{}`, status: 405, code: "method_not_allowed"},
		{call: "GET b2b /v1/b2b/stuck", status: 404, code: "no_such_route"},
		{call: "POST b2b /v1/b2b/orders/" + nobody + "/resume", status: 404, code: "no_such_route"},
		{call: "GET order /metrics", status: 404, code: "no_such_route"},

		{call: "GET checkout /v2", status: 404, code: "no_such_route"},
		{call: "GET inventory /", status: 404, code: "no_such_route"},
		{call: "GET payment /v1/payments", status: 404, code: "no_such_route"},
		{call: "GET order /v1/order", status: 404, code: "no_such_route"},
	} {
		t.Run(fmt.Sprintf("%.60s %d %s %s", c.call, c.status, c.code, c.field), func(t *testing.T) {
			part := strings.Fields(c.call)
			header := map[string]string{"Idempotency-Key": newKey()}
			if name, value, ok := strings.Cut(c.header, ": "); ok {
				header[name] = value
			}
			var body any
			if c.body != "" {
				body = c.body
			}
			base := sys.HTTPURL
			app, admin := strings.CutSuffix(part[1], ".admin")
			if admin {
				base = sys.AdminURL
				maps.Copy(header, sys.adminAuth(app))
			}
			a := sys.ask(t, part[0], base(app)+part[2], header, body)
			checkProblem(t, a, c.status, c.code, c.field)
		})
	}
}

func checkProblem(t *testing.T, a answer, status int, code, field string) {
	t.Helper()
	var p struct {
		Type, Title, Detail, Code, Field string
		Status                           int
	}
	a.decode(t, &p)
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("content type is %q", got)
	}
	if a.status != status || p.Status != status || p.Code != code || p.Field != field {
		t.Errorf("answer is %d %s, want %d with code %q, field %q", a.status, a.body, status, code, field)
	}
	if p.Type == "" || p.Title == "" || p.Detail == "" {
		t.Errorf("type, title or detail is missing: %s", a.body)
	}
}

func TestHTTP_AcceptedCheckoutIsFoundWhereLocationSays(t *testing.T) {
	s := sys
	s.setStock(t, "located", map[string]int64{"leeds": 1})
	a := s.mustAnswer(t, newKey(), basketOf("located", 1, "tok_success"), http.StatusAccepted)
	var receipt struct{ ID uuid.UUID }
	a.decode(t, &receipt)
	s.expect(t, receipt.ID, confirmed(250))
	found := s.ask(t, http.MethodGet, s.HTTPURL("checkout")+a.header.Get("Location"), nil, nil)
	var view struct {
		ID     uuid.UUID
		Status string
	}
	found.decode(t, &view)
	if view.ID != receipt.ID || view.Status != "confirmed" {
		t.Errorf("checkout is %s, want confirmed order %s", found.body, receipt.ID)
	}
}

func TestHTTP_OrdersOfACustomerArePaged(t *testing.T) {
	s := sys
	s.setStock(t, "paged", map[string]int64{"leeds": 10})
	var placed []uuid.UUID
	for range 5 {
		placed = append(placed, s.mustPlace(t, basketOf("paged", 1, "tok_success")))
	}
	s.awaitSettled(t, settleWithin, placed...)
	var seen []uuid.UUID
	cursor := ""
	for range placed {
		var page struct {
			Orders []orderView
			Next   string `json:"next_cursor"`
		}
		s.ask(t, http.MethodGet, s.HTTPURL("order")+"/v1/orders?customer_id=customer-paged&limit=2"+cursor, nil, nil).decode(t, &page)
		for _, o := range page.Orders {
			seen = append([]uuid.UUID{o.ID}, seen...) // newest first
		}
		if page.Next == "" {
			break
		}
		cursor = "&cursor=" + page.Next
	}
	if fmt.Sprint(seen) != fmt.Sprint(placed) {
		t.Errorf("pages hold %v, want %v", seen, placed)
	}
}

func TestAdmin_EveryServiceShowsHowItIsDoing(t *testing.T) {
	for _, app := range sys.Apps() {
		program := app
		if inOneProcess {
			program = stack.Together
		}
		for path, want := range map[string]struct {
			status int
			holds  string
		}{
			"/debug/pprof/":               {200, "goroutine"},
			"/debug/pprof/heap?debug=1":   {200, "heap profile"},
			"/debug/pprof/cmdline":        {200, program},
			"/debug/flight":               {503, "flight_off"},
			"/parked/" + uuid.NewString(): {404, "not_parked"},
			"/parked/1":                   {400, "not_a_uuid"},
			"/parked?limit=100000":        {400, "out_of_range"},
			"/nothing":                    {404, "no_such_route"},
			"/metrics":                    {404, "no_such_route"},
		} {
			a := sys.ask(t, http.MethodGet, sys.AdminURL(app)+path, sys.adminAuth(app), nil)
			if a.status != want.status || !strings.Contains(string(a.body), want.holds) {
				t.Errorf("%s %s answers %d %.200s, want %d with %q", app, path, a.status, a.body, want.status, want.holds)
			}
		}
	}
}

func TestHealth_EveryServiceShowsHowItIsDoing(t *testing.T) {
	for _, app := range sys.Apps() {
		for path, want := range map[string]struct {
			status int
			holds  string
		}{
			"/healthz":             {200, ""},
			"/readyz":              {200, ""},
			"/metrics":             {200, "quadrille_outbox_published_total"},
			"/debug/pprof/":        {404, "no_such_route"},
			"/debug/pprof/cmdline": {404, "no_such_route"},
			"/parked":              {404, "no_such_route"},
		} {
			a := sys.ask(t, http.MethodGet, sys.HealthURL(app)+path, nil, nil)
			if a.status != want.status || !strings.Contains(string(a.body), want.holds) {
				t.Errorf("%s %s answers %d %.200s, want %d with %q", app, path, a.status, a.body, want.status, want.holds)
			}
		}
	}
}

func TestAdmin_FlightRecorderGivesAnExecutionTrace(t *testing.T) {
	s := sys
	s.restartWith(t, "payment", "QUADRILLE_FLIGHT", "on")
	a := s.ask(t, http.MethodGet, s.AdminURL("payment")+"/debug/flight", s.adminAuth("payment"), nil)
	if a.status != http.StatusOK || !strings.HasPrefix(string(a.body), "go 1.") {
		t.Errorf("answer is %d %.40q, want an execution trace", a.status, a.body)
	}
}
