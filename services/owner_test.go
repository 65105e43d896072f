package services_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.yaml.in/yaml/v3"

	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services"
)

// everybodys are the routes that answer all alike, or by what the request itself holds: a
// token, a password, the secret of a ceremony.
var everybodys = []string{
	"GET /v1/stock/{sku}", "GET /v1/products", "GET /v1/products/{id}", "GET /v1/categories", "GET /v1/categories/{id}", "GET /v1/search",
	"GET /v1/prices", "GET /v1/carts/stock", "GET /.well-known/jwks.json", "GET /.well-known/openid-configuration",
	"POST /v1/accounts", "POST /v1/accounts/confirm", "POST /v1/sessions", "POST /v1/tokens", "POST /v1/tokens/revoke", "POST /v1/accounts/reset/begin", "POST /v1/accounts/reset/finish",
	"GET /v1/sessions/openid/providers", "POST /v1/sessions/openid/begin", "POST /v1/sessions/openid/finish",
	"POST /v1/sessions/passkey/begin", "POST /v1/sessions/passkey/finish",
}

// others are requests for what is ann's, or in her name, made by somebody else. {…} is one of
// her ids. Those without a status are refused with 403 or 404.
var others = map[string]struct {
	path, body string
	status     int
}{
	"POST /v1/checkouts":                            {"", `{"payment_token":"tok_success","quote":"{quote}"}`, 0},
	"GET /v1/checkouts/{id}":                        {"/v1/checkouts/{order}", "", 0},
	"GET /v1/orders":                                {"/v1/orders?customer_id={ann}", "", 0},
	"GET /v1/orders/{id}":                           {"/v1/orders/{order}", "", 0},
	"POST /v1/orders/{id}/cancel":                   {"/v1/orders/{order}/cancel", "", 0},
	"GET /v1/customers/{id}":                        {"/v1/customers/{ann}", "", 0},
	"DELETE /v1/customers/{id}":                     {"/v1/customers/{ann}", "", 0},
	"PUT /v1/customers/{id}/profile":                {"/v1/customers/{ann}/profile", `{"name":"Mallory"}`, 0},
	"PUT /v1/customers/{id}/addresses/{address}":    {"/v1/customers/{ann}/addresses/{address}", home, 0},
	"DELETE /v1/customers/{id}/addresses/{address}": {"/v1/customers/{ann}/addresses/{address}", "", 0},
	"PUT /v1/customers/{id}/consents/{purpose}":     {"/v1/customers/{ann}/consents/newsletter", `{"granted":false}`, 0},
	"GET /v1/carts/{id}":                            {"/v1/carts/{cart}", "", 0},
	"POST /v1/carts/{id}/quote":                     {"/v1/carts/{cart}/quote", `{"currency":"GBP"}`, 0},
	"GET /v1/carts/{id}/stock":                      {"/v1/carts/{cart}/stock", "", 0},
	"PUT /v1/carts/{id}/lines/{sku}":                {"/v1/carts/{cart}/lines/TEA", `{"quantity":9}`, 0},
	"DELETE /v1/carts/{id}/lines/{sku}":             {"/v1/carts/{cart}/lines/TEA", "", 0},
	"POST /v1/b2b/orders":                           {"", `{"company_id":"acme","ordered_by":"{ann}","lines":[{"sku":"TEA","quantity":1,"unit_price":1}]}`, 0},
	"GET /v1/b2b/orders/{id}":                       {"/v1/b2b/orders/{b2b}", "", 0},
	"POST /v1/b2b/orders/{id}/cancel":               {"/v1/b2b/orders/{b2b}/cancel", "", 0},
	"POST /v1/b2b/orders/{id}/approval":             {"/v1/b2b/orders/{b2b}/approval", `{"decision":"approve"}`, 0},
	"GET /v1/b2b/companies/{company}":               {"/v1/b2b/companies/acme", "", 0},
	"DELETE /v1/accounts/me/links/{id}":             {"/v1/accounts/me/links/{link}", "", 0},
	"DELETE /v1/accounts/me/passkeys/{id}":          {"/v1/accounts/me/passkeys/{passkey}", "", 0},
	"POST /v1/carts/merge":                          {"", `{"cart_id":"{cart}","token":"x"}`, http.StatusOK},
	"DELETE /v1/sessions/{id}":                      {"/v1/sessions/{session}", "", http.StatusNoContent},
	"GET /v1/b2b/approvals":                         {"/v1/b2b/approvals?approver={ann}", "", 0},
	// What is the caller's own, no matter who that is.
	"POST /v1/carts":                      {"", "", http.StatusOK},
	"GET /v1/accounts/me":                 {"", "", http.StatusOK},
	"GET /v1/sessions":                    {"", "", http.StatusOK},
	"GET /v1/accounts/me/links":           {"", "", http.StatusOK},
	"GET /v1/accounts/me/passkeys":        {"", "", http.StatusOK},
	"POST /v1/accounts/me/passkey/begin":  {"", "", http.StatusCreated},
	"POST /v1/accounts/me/passkey/finish": {"", `{"ceremony":"x","credential":{}}`, http.StatusBadRequest},
	"POST /v1/accounts/me/openid/begin":   {"", `{"provider":"x"}`, 0},
	"POST /v1/accounts/me/openid/finish":  {"", `{"ceremony":"x","state":"x","code":"x"}`, http.StatusConflict},
	"POST /v1/accounts/me/address/begin":  {"", `{"current_email":"ann.zaphod@example.com","email":"ben@elsewhere.example"}`, http.StatusBadRequest},
	"POST /v1/accounts/me/address/finish": {"", `{"token":"GGB6M2SNSI6ZSEO4XKRSYGVPNR"}`, http.StatusConflict},
	"PUT /v1/accounts/me/password":        {"", `{"current_password":"not ann's","new_password":"correct horse 2"}`, http.StatusBadRequest},
	"DELETE /v1/sessions":                 {"", "", http.StatusNoContent},
}

const home = `{"recipient":"Zaphod Quimby","lines":["42 Betelgeuse Lane"],"city":"Islington","region":"","postal_code":"N1 9GU","country":"GB","phone":"+441632960961"}`

// Each public route of the API is asked for one customer's things with another one's token,
// and with none. Nobody gets them, or changes them. A route that is new is missing here.
func TestEveryRouteKeepsCustomersApart(t *testing.T) {
	h := newHouse(t)
	ann, ben := h.signIn("ann", "acme"), h.signIn("ben", "globex")
	h.belongings(ann)
	before := h.seenBy(ann)
	for _, route := range publicRoutes(t) {
		c, known := others[route]
		if !known && !slices.Contains(everybodys, route) {
			t.Errorf("%s is in the document and not in this test: say here whose it is", route)
		}
		if !known {
			continue
		}
		method, path, _ := strings.Cut(route, " ")
		if c.path != "" {
			path = c.path
		}
		for who, token := range map[string]string{"somebody else": ben, "nobody": ""} {
			status, body := h.ask(token, method, h.of(path), h.of(c.body))
			refused := status == http.StatusForbidden || status == http.StatusNotFound
			switch {
			case token == "" && (refused || status == http.StatusUnauthorized || strings.HasPrefix(path, "/v1/carts") && status == http.StatusCreated):
			case token != "" && (c.status == 0 && refused || c.status != 0 && status == c.status):
			default:
				t.Errorf("%s by %s: %d %s", route, who, status, body)
			}
			for _, mark := range h.marks() {
				if strings.Contains(body, mark) {
					t.Errorf("%s tells %s %q: %s", route, who, mark, body)
				}
			}
		}
		if route == "DELETE /v1/sessions" {
			ben = h.signInAgain("ben")
		}
	}
	if after := h.seenBy(ann); after != before {
		t.Errorf("others changed what is ann's, from\n%s\nto\n%s", before, after)
	}
	h.findNothingPersonal(ann)
}

// publicRoutes are those of the document that customers may ask for.
func publicRoutes(t *testing.T) (routes []string) {
	t.Helper()
	text, err := os.ReadFile("../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]yaml.Node
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	for path, item := range document.Paths {
		for method, node := range item {
			var operation struct {
				Tags     []string
				Security []map[string][]string
			}
			if !slices.Contains([]string{"get", "put", "post", "delete", "patch"}, method) {
				continue
			}
			if err := node.Decode(&operation); err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
			operators := len(operation.Security) == 1 && len(operation.Security[0]) > 0
			if !operators && !slices.Contains([]string{"admin", "bridge", "health"}, operation.Tags[0]) {
				routes = append(routes, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(routes)
	if len(routes) < len(others) {
		t.Fatalf("the document has only %d routes", len(routes))
	}
	return routes
}

// house is all services in one process, behind the gateway, with people who sign in.
type house struct {
	*process
	ids   map[string]string // of what is ann's
	spans *spans
}

func newHouse(t *testing.T) *house {
	t.Helper()
	var names []string
	for _, s := range services.All() {
		names = append(names, s.Name)
	}
	p := newProcess(t, names...)
	p.stop(os.Interrupt)
	p.env["QUADRILLE_IDENTITY_URL"], p.env["QUADRILLE_ISSUER"] = "http://"+p.addr("identity", "HTTP_ADDR"), "https://shop.example"
	p.env["QUADRILLE_LOG_LEVEL"] = "debug"
	spans := startSpans(t)
	p.env["OTEL_EXPORTER_OTLP_ENDPOINT"], p.env["QUADRILLE_TRACE_PERCENT"] = spans.URL, "100"
	p.start()
	return &house{p, make(map[string]string), spans}
}

// ask asks the gateway, and returns the answer.
func (h *house) ask(token, method, path, body string, header ...string) (int, string) {
	h.t.Helper()
	if token != "" {
		token = "Bearer " + token
	}
	status, answer := h.request(method, "http://"+h.addr("gateway", "HTTP_ADDR")+path, body,
		append(header, "Authorization", token, "Idempotency-Key", uuid.NewString())...)
	return status, string(answer)
}

// got is ask for what must be answered so. What it answers is JSON.
func (h *house) got(want int, token, method, path, body string) (answer map[string]any) {
	h.t.Helper()
	status, text := h.ask(token, method, path, body)
	if status != want {
		h.t.Fatalf("%s %s: %d %s, want %d", method, path, status, text, want)
	}
	_ = json.Unmarshal([]byte(text), &answer) // or there is none
	return answer
}

// operate is a request to a service's own port for operators.
func (h *house) operate(service, method, path, body string) {
	h.t.Helper()
	if status, answer := h.request(method, "http://"+h.addr(service, "ADMIN_ADDR")+path, body); status/100 != 2 {
		h.t.Fatalf("%s %s of %s: %d %s", method, path, service, status, answer)
	}
}

const password = "correct horse of zaphod"

func emailOf(name string) string { return name + ".zaphod@example.com" }

// signIn makes an account that may approve orders of its company, and returns an access token.
func (h *house) signIn(name, company string) string {
	h.t.Helper()
	h.operate("identity", http.MethodPost, "/v1/accounts/provision",
		fmt.Sprintf(`{"email":%q,"password":%q,"scopes":["approver"],"company":%q}`, emailOf(name), password, company))
	return h.signInAgain(name)
}

func (h *house) signInAgain(name string) string {
	h.t.Helper()
	tokens := h.got(http.StatusCreated, "", http.MethodPost, "/v1/sessions", fmt.Sprintf(`{"email":%q,"password":%q}`, emailOf(name), password))
	if name == "ann" {
		h.ids["ann"], h.ids["session"], h.ids["refresh"] = fmt.Sprint(tokens["account_id"]), fmt.Sprint(tokens["session_id"]), fmt.Sprint(tokens["refresh_token"])
	}
	return fmt.Sprint(tokens["access_token"])
}

// belongings gives ann one of each thing that a customer can have.
func (h *house) belongings(ann string) {
	h.t.Helper()
	h.stock("TEA", 100)
	h.operate("price", http.MethodPut, "/v1/prices/lists/retail", `{"currency":"GBP","valid_from":"2026-01-01"}`)
	h.operate("price", http.MethodPut, "/v1/prices/lists/retail/prices", `{"prices":[{"sku":"TEA","tiers":[{"min_quantity":1,"amount":450}]}]}`)
	me := "/v1/customers/" + h.ids["ann"]
	h.ids["address"] = uuid.NewString()
	h.got(http.StatusOK, ann, http.MethodPut, me+"/profile", `{"name":"Zaphod Quimby","email":"ann.zaphod@example.com"}`)
	h.got(http.StatusCreated, ann, http.MethodPut, me+"/addresses/"+h.ids["address"], home)
	h.got(http.StatusOK, ann, http.MethodPut, me+"/consents/newsletter", `{"granted":true}`)
	h.ids["cart"] = fmt.Sprint(h.got(http.StatusOK, ann, http.MethodPost, "/v1/carts", "")["id"])
	h.got(http.StatusOK, ann, http.MethodPut, "/v1/carts/"+h.ids["cart"]+"/lines/TEA", `{"quantity":2}`)
	quote := func() string {
		return fmt.Sprint(h.got(http.StatusOK, ann, http.MethodPost, "/v1/carts/"+h.ids["cart"]+"/quote", `{"currency":"GBP","region":"GB"}`)["token"])
	}
	h.ids["order"] = fmt.Sprint(h.got(http.StatusAccepted, ann, http.MethodPost, "/v1/checkouts",
		fmt.Sprintf(`{"payment_token":"tok_success","quote":%q,"address_id":%q}`, quote(), h.ids["address"]))["id"])
	servicetest.Await(h.t, "the order is confirmed, and out of the cart", func() bool {
		cart := h.got(http.StatusOK, ann, http.MethodGet, "/v1/carts/"+h.ids["cart"], "")
		return h.got(http.StatusOK, ann, http.MethodGet, "/v1/checkouts/"+h.ids["order"], "")["status"] == "confirmed" && fmt.Sprint(cart["lines"]) == "[]"
	})
	h.got(http.StatusOK, ann, http.MethodPut, "/v1/carts/"+h.ids["cart"]+"/lines/TEA", `{"quantity":3}`)
	h.ids["quote"] = quote()
	h.company("acme", "1h")
	h.ids["b2b"] = fmt.Sprint(h.got(http.StatusAccepted, ann, http.MethodPost, "/v1/b2b/orders", h.of(
		`{"company_id":"acme","ordered_by":"{ann}","lines":[{"sku":"TEA","quantity":1,"unit_price":2000}]}`))["id"])
	servicetest.Await(h.t, "somebody is to approve the company's order", func() bool {
		return h.got(http.StatusOK, ann, http.MethodGet, "/v1/b2b/orders/"+h.ids["b2b"], "")["status"] == "awaiting_approval"
	})
	h.waysIn()
}

// waysIn gives ann a link and a passkey that nobody has.
func (h *house) waysIn() {
	h.t.Helper()
	db, err := pgx.Connect(h.t.Context(), h.env[setting("identity", "DATABASE_URL")])
	if err != nil {
		h.t.Fatal(err)
	}
	defer db.Close(h.t.Context()) //nolint:errcheck // it only inserted
	h.ids["link"], h.ids["passkey"] = uuid.NewString(), uuid.NewString()
	_, err1 := db.Exec(h.t.Context(), `insert into openid_links (id, account_id, provider, issuer, subject) values ($1, $2, 'x', 'x', 'x')`, h.ids["link"], h.ids["ann"])
	_, err2 := db.Exec(h.t.Context(), `insert into passkeys (id, account_id, name, credential_id, credential) values ($1, $2, 'x', 'x', '{}')`, h.ids["passkey"], h.ids["ann"])
	if err := errors.Join(err1, err2); err != nil {
		h.t.Fatal(err)
	}
}

// of puts ann's ids into a text.
func (h *house) of(text string) string {
	for name, id := range h.ids {
		text = strings.ReplaceAll(text, "{"+name+"}", id)
	}
	return text
}

// marks are what no answer to somebody else may hold. A refusal may name what was asked for.
func (h *house) marks() []string { return append(slices.Clone(personal), h.ids["refresh"]) }

// personal is what ann said of herself.
var personal = []string{"Zaphod", "ann.zaphod", "Betelgeuse", "+441632960961", "N1 9GU"}

// stocked is what cart shows of the stock, which others change.
var stocked = regexp.MustCompile(`"available":(null|\d+)(,"age_ms":\d+)?`)

// seenBy is all that ann sees of what is hers.
func (h *house) seenBy(ann string) (seen string) {
	h.t.Helper()
	for _, path := range []string{
		"/v1/customers/{ann}", "/v1/carts/{cart}", "/v1/orders/{order}", "/v1/orders?customer_id={ann}", "/v1/checkouts/{order}", "/v1/b2b/orders/{b2b}",
		"/v1/b2b/approvals", "/v1/accounts/me", "/v1/sessions", "/v1/accounts/me/links", "/v1/accounts/me/passkeys",
	} {
		status, body := h.ask(ann, http.MethodGet, h.of(path), "")
		if status != http.StatusOK {
			h.t.Errorf("ann asks for %s: %d %s", path, status, body)
		}
		seen += path + " " + stocked.ReplaceAllString(body, "") + "\n"
	}
	return seen
}

// findNothingPersonal looks for what ann said of herself, and for what opens her account, in
// all databases, in metrics, in spans, and in the log of the process, at its most talkative. Clients make mistakes,
// too: what they send where it does not belong is no more to be found.
func (h *house) findNothingPersonal(ann string) {
	h.t.Helper()
	for _, wrong := range [][3]string{
		{http.MethodGet, "/v1/customers/ann.zaphod@example.com", ""},
		{http.MethodPut, "/v1/customers/{ann}/profile", `{"name":"Zaphod", "e-mail":"ann.zaphod@example.com"}`},
		{http.MethodPut, "/v1/customers/{ann}/addresses/{address}", `{"recipient":"Zaphod`},
		{http.MethodPut, "/v1/customers/{ann}/consents/Betelgeuse", `{"granted":true}`},
		{http.MethodPost, "/v1/checkouts", `{"customer_id":"ann.zaphod@example.com","payment_token":"Zaphod"}`},
		{http.MethodPost, "/v1/sessions", `{"email":"ann.zaphod@example.com","password":"` + password + ` not"}`},
		{http.MethodPost, "/v1/accounts/reset/begin", `{"email":"ann.zaphod@example.com"}`},
		{http.MethodPut, "/v1/carts/{cart}/lines/Zaphod%20Quimby", `{"quantity":1}`},
	} {
		if status, body := h.ask(ann, wrong[0], h.of(wrong[1]), h.of(wrong[2])); status < 200 || status >= 500 {
			h.t.Errorf("%s %s: %d %s", wrong[0], wrong[1], status, body)
		}
	}
	secrets := append(slices.Clone(personal), password, h.ids["refresh"], ann, h.ids["quote"])
	for _, spec := range services.All() {
		if !spec.HasDatabase() {
			continue
		}
		pool, err := pgxpool.New(h.t.Context(), h.env[setting(spec.Name, "DATABASE_URL")])
		if err != nil {
			h.t.Fatal(err)
		}
		defer pool.Close()
		for _, secret := range secrets {
			if found := servicetest.Holding(h.t, pool, secret); len(found) > 0 {
				h.t.Errorf("%.40q can be read in %v of %s", secret, found, spec.Name)
			}
		}
	}
	said := make(map[string]string)
	for _, spec := range services.All() {
		_, metrics := h.request(http.MethodGet, "http://"+h.addr(spec.Name, "HEALTH_ADDR")+"/metrics", "")
		said["metrics of "+spec.Name] = string(metrics)
	}
	h.stop(os.Interrupt)
	said["log"], said["spans"] = strings.Join(h.logs, ""), h.spans.text()
	for what, has := range map[string]string{"log": "level", "spans": "/v1/customers/", "metrics of customer": "quadrille_http_request_seconds"} {
		if !strings.Contains(said[what], has) {
			h.t.Errorf("there is no %q in the %s: %.1000q", has, what, said[what])
		}
	}
	for what, text := range said {
		for _, secret := range secrets {
			if at := strings.Index(text, secret); at >= 0 {
				h.t.Errorf("there is %.40q in the %s: %q", secret, what, text[max(0, at-200):min(len(text), at+100)])
			}
		}
	}
}
