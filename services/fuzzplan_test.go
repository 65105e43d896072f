package services_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// fuzzPlan is what testdata/fuzzer/people.py reads.
type fuzzPlan struct {
	// People are access tokens by name. Without says who asks without one.
	People  map[string]string `json:"people"`
	Without string            `json:"people_without_token"`
	// Rotation are those who make the generated requests, in turn. The first one has what Own
	// names, by operation.
	Rotation []string                     `json:"rotation"`
	Own      map[string]map[string]string `json:"own"`
	// Requests are sent beside the examples of the document, by operation.
	Requests map[string][]fuzzRequest `json:"requests"`
	// Elsewhere are the tags of operations that are not asked.
	Elsewhere []string `json:"elsewhere"`
	Answers   string   `json:"answers"`
}

type fuzzRequest struct {
	As      string            `json:"as"`
	Path    map[string]string `json:"path,omitempty"`
	Query   map[string]string `json:"query,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    any               `json:"body,omitempty"`
	Media   string            `json:"media,omitempty"`
}

type object = map[string]any

// world is what the fuzzer finds: people who signed in, and what they have.
type world struct {
	*process
	db    *pgx.Conn // identity's
	plan  fuzzPlan
	admin fuzzPlan
	ids   map[string]string // accounts by name
}

const peoplesPassword = "correct horse battery"

// makePlans fills the shop. What a request of the plan uses up belongs to somebody who has nothing else
// to do.
func (p *process) makePlans() (customers, operators fuzzPlan) {
	p.t.Helper()
	db, err := pgx.Connect(p.t.Context(), p.env[setting("identity", "DATABASE_URL")])
	if err != nil {
		p.t.Fatal(err)
	}
	defer db.Close(context.WithoutCancel(p.t.Context()))
	w := &world{process: p, db: db, ids: make(map[string]string),
		plan:  fuzzPlan{People: map[string]string{"nobody": ""}, Without: "nobody", Own: map[string]map[string]string{}, Requests: map[string][]fuzzRequest{}},
		admin: fuzzPlan{People: map[string]string{}, Without: "operator", Rotation: []string{}, Own: map[string]map[string]string{}, Requests: map[string][]fuzzRequest{}},
	}
	w.plan.Rotation = []string{"ben", "nobody", "amy", "carl"}
	w.openShop()
	w.accounts()
	w.buy()
	w.company()
	w.operate()
	return w.plan, w.admin
}

// call sends a request of somebody, or to a service's admin port where by names one.
func (w *world) call(by, method, path string, body, answer any, header ...string) {
	w.t.Helper()
	url, header := "http://"+w.addr("gateway", "HTTP_ADDR"), append(header, "Authorization", "Bearer "+w.plan.People[by])
	if service, ok := strings.CutPrefix(by, "operator of "); ok {
		url, header = "http://"+w.addr(service, "ADMIN_ADDR"), header[:len(header)-2]
	}
	text := ""
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			w.t.Fatal(err)
		}
		text = string(raw)
	}
	if by == "nobody" {
		header[len(header)-1] = ""
	}
	status, raw := w.request(method, url+path, text, header...)
	if status/100 != 2 {
		w.t.Fatalf("%s %s by %s: %d %s", method, path, by, status, raw)
	}
	if answer != nil {
		if err := json.Unmarshal(raw, answer); err != nil {
			w.t.Fatalf("%s %s by %s: %s: %v", method, path, by, raw, err)
		}
	}
}

func (w *world) sends(operation string, r fuzzRequest) {
	w.plan.Requests[operation] = append(w.plan.Requests[operation], r)
}

func (w *world) operatorSends(operation string, r fuzzRequest) {
	r.As = "operator"
	w.admin.Requests[operation] = append(w.admin.Requests[operation], r)
}

// openShop has prices, a product and stock. What is called spare, operators delete.
func (w *world) openShop() {
	w.t.Helper()
	for _, name := range []string{"retail", "spare"} {
		w.call("operator of price", http.MethodPut, "/v1/prices/lists/"+name, object{"group": "", "currency": "GBP", "valid_from": "2026-01-01"}, nil)
		w.call("operator of price", http.MethodPut, "/v1/prices/taxes/"+name, object{"rate": 200_000, "valid_from": "2026-01-01", "region": strings.ToUpper(name[:2])}, nil)
		w.call("operator of price", http.MethodPut, "/v1/prices/shipping/"+name, object{"currency": "GBP", "amount": 499, "region": strings.ToUpper(name[:2])}, nil)
		w.call("operator of price", http.MethodPut, "/v1/prices/promotions/"+name, object{"kind": "order_percentage", "rate": 10_000, "valid_from": "2026-01-01"}, nil)
		w.call("operator of price", http.MethodPut, "/v1/vouchers/"+strings.ToUpper(name), object{"max_uses": 5, "kind": "order_percentage", "rate": 100_000, "valid_from": "2026-01-01"}, nil)
	}
	w.call("operator of price", http.MethodPut, "/v1/prices/lists/retail/prices", object{"prices": []object{{"sku": "TEA", "tiers": []object{{"min_quantity": 1, "amount": 450}}}}}, nil)
	none := []string{}
	w.call("operator of catalog", http.MethodPut, "/v1/categories/drinks", object{"name": "Drinks"}, nil, "If-None-Match", "*")
	w.call("operator of catalog", http.MethodPut, "/v1/products/tea", object{"state": "published", "title": "Tea", "description": "Leaves.", "categories": none, "attributes": none,
		"media": none, "variants": []object{{"sku": "TEA", "title": "Tea", "attributes": none}}}, nil, "If-None-Match", "*")
	w.stock("TEA", 1_000)
	for operation, path := range map[string]map[string]string{
		"getProduct": {"id": "tea"}, "getCategory": {"id": "drinks"},
	} {
		w.sends(operation, fuzzRequest{As: "nobody", Path: path})
		w.plan.Own[operation] = path
	}
	w.sends("getPrices", fuzzRequest{As: "nobody", Query: map[string]string{"sku": "TEA", "currency": "GBP"}})
}

// join makes an account and signs in to it.
func (w *world) join(name string, roles object) (session struct {
	Access  string    `json:"access_token"`
	Refresh string    `json:"refresh_token"`
	Session uuid.UUID `json:"session_id"`
	Account uuid.UUID `json:"account_id"`
}) {
	w.t.Helper()
	credentials := object{"email": name + "@example.com", "password": peoplesPassword}
	wanted := object{"email": credentials["email"], "password": peoplesPassword, "scopes": []string{}}
	for key, value := range roles {
		wanted[key] = value
	}
	w.call("operator of identity", http.MethodPost, "/v1/accounts/provision", wanted, nil)
	w.call("nobody", http.MethodPost, "/v1/sessions", credentials, &session)
	w.plan.People[name], w.ids[name] = session.Access, session.Account.String()
	return session
}

// accounts has what identity and customer know of people.
func (w *world) accounts() {
	w.t.Helper()
	for _, name := range []string{"ann", "ben", "leaver"} {
		w.join(name, nil)
	}
	w.join("amy", object{"scopes": []string{"approver"}, "company": "acme"})
	w.join("carl", object{"company": "acme"})
	out, changer := w.join("out", nil), w.join("changer", nil)
	w.sends("signOut", fuzzRequest{As: "out", Path: map[string]string{"id": out.Session.String()}})
	w.sends("signOutEverywhere", fuzzRequest{As: "out"})
	w.sends("eraseCustomer", fuzzRequest{As: "leaver", Path: map[string]string{"id": w.ids["leaver"]}})
	w.sends("changePassword", fuzzRequest{As: "changer", Body: object{"current_password": peoplesPassword, "new_password": "staple correct horse"}})
	w.sends("signIn", fuzzRequest{As: "nobody", Body: object{"email": "ann@example.com", "password": peoplesPassword}})
	w.sends("getToken", fuzzRequest{As: "nobody", Body: object{"grant_type": "refresh_token", "refresh_token": changer.Refresh}, Media: "application/x-www-form-urlencoded"})
	w.sends("beginNewAddress", fuzzRequest{As: "ann", Body: object{"current_email": "ann@example.com", "email": "ann@elsewhere.example"}})
	for _, operation := range []string{"listProviders", "getKeys", "discover", "listCategories", "listProducts", "beginPasskey"} {
		w.sends(operation, fuzzRequest{As: "nobody"})
	}
	w.sends("searchProducts", fuzzRequest{As: "nobody", Query: map[string]string{"q": "tea"}})
	for _, operation := range []string{"getMyAccount", "listSessions", "listLinks", "listPasskeys", "beginPasskeyAddition"} {
		w.sends(operation, fuzzRequest{As: "ann"})
	}
	w.mailed()

	ann := map[string]string{"id": w.ids["ann"]}
	w.call("ann", http.MethodPut, "/v1/customers/"+w.ids["ann"]+"/profile", object{"name": "Ann Example"}, nil)
	w.sends("getCustomer", fuzzRequest{As: "ann", Path: ann})
	w.sends("putProfile", fuzzRequest{As: "ann", Path: ann, Body: object{"name": "Ann Example", "language": "en-GB"}})
	w.sends("putConsent", fuzzRequest{As: "ann", Path: map[string]string{"id": w.ids["ann"], "purpose": "newsletter"}, Body: object{"granted": true}})
	home := object{"recipient": "Ann Example", "lines": []string{"1 High Street"}, "city": "London", "postal_code": "SW1A 1AA", "country": "GB"}
	gone := map[string]string{"id": w.ids["ann"], "address": uuid.NewString()}
	w.sends("putAddress", fuzzRequest{As: "ann", Path: gone, Body: home})
	w.sends("putAddress", fuzzRequest{As: "ann", Path: gone, Body: home})
	w.sends("removeAddress", fuzzRequest{As: "ann", Path: gone})
	for _, operation := range []string{"getCustomer", "putProfile", "putAddress", "removeAddress", "putConsent"} {
		w.plan.Own[operation] = map[string]string{"id": w.ids["ben"]}
	}
}

// mailed plants what people were mailed: the table has hashes, so that no mail is read here.
func (w *world) mailed() {
	w.t.Helper()
	hash := func(token string) []byte { sum := sha256.Sum256([]byte(token)); return sum[:] }
	changer := w.ids["changer"]
	link, passkey := uuid.New(), uuid.New()
	for sql, args := range map[string][]any{
		`insert into mailed_tokens (token_hash, login, expires_at) values ($1, 'a new login', now() + interval '1 h')`:                                  {hash("welcome")},
		`insert into mailed_tokens (token_hash, account_id, login, expires_at) values ($1, $2, 'another login', now() + interval '1 h')`:                {hash("move"), changer},
		`insert into reset_tokens (token_hash, account_id, login, expires_at) select $1, id, login, now() + interval '1 h' from accounts where id = $2`: {hash("reset"), w.ids["out"]},
		`insert into openid_links (id, account_id, provider, issuer, subject) values ($1, $2, 'x', 'x', 'x')`:                                           {link, changer},
		`insert into passkeys (id, account_id, name, credential_id, credential) values ($1, $2, 'x', 'x', '{}')`:                                        {passkey, changer},
	} {
		if _, err := w.db.Exec(w.t.Context(), sql, args...); err != nil {
			w.t.Fatal(err)
		}
	}
	w.sends("confirmRegistration", fuzzRequest{As: "nobody", Body: object{"token": "welcome", "password": peoplesPassword}})
	w.sends("finishNewAddress", fuzzRequest{As: "changer", Body: object{"token": "move"}})
	w.sends("finishReset", fuzzRequest{As: "nobody", Body: object{"token": "reset", "new_password": peoplesPassword}})
	w.sends("removeLink", fuzzRequest{As: "changer", Path: map[string]string{"id": link.String()}})
	w.sends("removePasskey", fuzzRequest{As: "changer", Path: map[string]string{"id": passkey.String()}})
}

// cart has somebody's cart, with tea in it, quoted.
func (w *world) cart(name string, quantity int) (cart, quote string) {
	w.t.Helper()
	var opened struct{ ID uuid.UUID }
	w.call(name, http.MethodPost, "/v1/carts", nil, &opened)
	cart = opened.ID.String()
	w.call(name, http.MethodPut, "/v1/carts/"+cart+"/lines/TEA", object{"quantity": quantity}, nil)
	var quoted struct{ Token string }
	w.call(name, http.MethodPost, "/v1/carts/"+cart+"/quote", object{"currency": "GBP"}, &quoted)
	if quoted.Token == "" {
		w.t.Fatalf("%s's cart has no quote", name)
	}
	return cart, quoted.Token
}

// buy has orders and carts of ann and of ben.
func (w *world) buy() {
	w.t.Helper()
	var guest struct {
		ID    uuid.UUID
		Token string
	}
	w.call("nobody", http.MethodPost, "/v1/carts", nil, &guest, "Idempotency-Key", uuid.NewString())
	w.sends("mergeCart", fuzzRequest{As: "ann", Body: object{"cart_id": guest.ID, "token": guest.Token}})
	for _, name := range []string{"ann", "ben"} {
		cart, quote := w.cart(name, 2)
		var order struct{ ID uuid.UUID }
		w.call(name, http.MethodPost, "/v1/checkouts", object{"quote": quote, "payment_token": "tok_success"}, &order, "Idempotency-Key", uuid.NewString())
		_, second := w.cart(name, 9) // two of which may still be on order
		w.sends("placeCheckout", fuzzRequest{As: name, Headers: map[string]string{"Idempotency-Key": uuid.NewString()}, Body: object{"quote": second, "payment_token": "tok_success"}})
		for _, operation := range []string{"getCheckout", "getOrder"} {
			w.sends(operation, fuzzRequest{As: name, Path: map[string]string{"id": order.ID.String()}})
			w.plan.Own[operation] = map[string]string{"id": order.ID.String()}
		}
		w.sends("listOrders", fuzzRequest{As: name, Query: map[string]string{"customer_id": w.ids[name]}})
		for _, operation := range []string{"getCart", "quoteCart", "setCartLine", "removeCartLine"} {
			w.plan.Own[operation] = map[string]string{"id": cart}
		}
		w.sends("getCart", fuzzRequest{As: name, Path: map[string]string{"id": cart}})
		tea := map[string]string{"id": cart, "sku": "TEA"}
		w.sends("setCartLine", fuzzRequest{As: name, Path: tea, Body: object{"quantity": 3}})
		w.sends("removeCartLine", fuzzRequest{As: name, Path: tea})
		w.operatorSends("explainQuote", fuzzRequest{Body: object{"token": quote}})
		w.operatorSends("getPayment", fuzzRequest{Path: map[string]string{"id": order.ID.String()}})
	}
	w.sends("openCart", fuzzRequest{As: "ann"})
	w.sends("getStock", fuzzRequest{As: "ann", Path: map[string]string{"sku": "TEA"}})
	full, _ := w.cart("carl", 1)
	w.sends("quoteCart", fuzzRequest{As: "carl", Path: map[string]string{"id": full}, Body: object{"currency": "GBP"}})
	w.sends("watchCartStock", fuzzRequest{As: "carl", Path: map[string]string{"id": full}})
	var empty struct{ ID uuid.UUID }
	w.call("amy", http.MethodPost, "/v1/carts", nil, &empty)
	w.sends("watchCartStock", fuzzRequest{As: "amy", Path: map[string]string{"id": empty.ID.String()}})
	w.sends("openCart", fuzzRequest{As: "nobody", Headers: map[string]string{"Idempotency-Key": uuid.NewString()}})
}

// company has orders of acme, which amy decides about and carl makes.
func (w *world) company() {
	w.t.Helper()
	w.call("operator of b2b", http.MethodPut, "/v1/b2b/companies/acme", object{
		"name": "acme", "currency": "GBP", "credit_limit": 100_000_000, "warehouses": []string{"leeds"}, "policy": object{
			"rules": []object{{"from": 1_000, "need": 1}}, "approvers": []object{{"id": w.ids["amy"], "limit": 1_000_000, "level": 1}}, "delegations": []string{},
			"remind_after": "0s", "escalate_after": "0s", "expire_after": "1h"},
	}, nil)
	wanted := object{"company_id": "acme", "ordered_by": w.ids["carl"], "lines": []object{{"sku": "TEA", "quantity": 1, "unit_price": 2_000}}}
	submit := func() map[string]string {
		var order struct{ ID uuid.UUID }
		w.call("carl", http.MethodPost, "/v1/b2b/orders", wanted, &order, "Idempotency-Key", uuid.NewString())
		return map[string]string{"id": order.ID.String()}
	}
	w.sends("submitOrder", fuzzRequest{As: "carl", Headers: map[string]string{"Idempotency-Key": uuid.NewString()}, Body: wanted})
	decided, cancelled := submit(), submit()
	w.sends("getB2BOrder", fuzzRequest{As: "carl", Path: decided})
	w.sends("decide", fuzzRequest{As: "amy", Path: decided, Body: object{"approver": w.ids["amy"], "decision": "approve", "reason": "because"}})
	w.sends("cancelB2BOrder", fuzzRequest{As: "carl", Path: cancelled})
	w.sends("listApprovals", fuzzRequest{As: "amy"})
	w.sends("getCompany", fuzzRequest{As: "carl", Path: map[string]string{"company": "acme"}})
}

// operate has what operators find on the admin ports.
func (w *world) operate() {
	w.t.Helper()
	for _, kind := range []string{"List", "Promotion", "Tax", "ShippingRate"} {
		w.operatorSends("get"+kind, fuzzRequest{Path: map[string]string{"name": "retail"}})
		w.operatorSends("delete"+strings.TrimSuffix(kind, "Rate"), fuzzRequest{Path: map[string]string{"name": "spare"}})
	}
	for _, operation := range []string{
		"listErasures", "listRoutes", "getSearchIndex", "buildSearchIndex", "compareSearchIndex", "listPriceLists", "listPromotions", "listTaxes",
		"listShippingRates", "listKeys", "listStuck",
	} {
		w.operatorSends(operation, fuzzRequest{})
	}
	w.operatorSends("listPayments", fuzzRequest{Query: map[string]string{"status": "refused"}})
	w.operatorSends("getListPrices", fuzzRequest{Path: map[string]string{"name": "retail"}})
	w.operatorSends("putListPrices", fuzzRequest{Path: map[string]string{"name": "retail"}, Body: object{"prices": []object{{"sku": "TEA", "tiers": []object{{"min_quantity": 1, "amount": 451}}}}}})
	w.operatorSends("getVoucher", fuzzRequest{Path: map[string]string{"code": "RETAIL"}})
	w.operatorSends("deleteVoucher", fuzzRequest{Path: map[string]string{"code": "SPARE"}})
	var client struct {
		ID uuid.UUID `json:"client_id"`
	}
	w.call("operator of identity", http.MethodPost, "/v1/clients", object{"name": "erp", "scopes": []string{}}, &client)
	w.operatorSends("deleteClient", fuzzRequest{Path: map[string]string{"id": client.ID.String()}})
	ann := map[string]string{"id": w.ids["ann"]}
	w.operatorSends("getAccount", fuzzRequest{Path: ann})
	w.operatorSends("setRoles", fuzzRequest{Path: ann, Body: object{"scopes": []string{}}})
	w.operatorSends("endSessions", fuzzRequest{Path: ann})
	again := object{"email": "ann@example.com", "password": peoplesPassword, "scopes": []string{}}
	w.operatorSends("provisionAccount", fuzzRequest{Body: again})
	w.operatorSends("provisionAccount", fuzzRequest{Body: object{"email": "new@example.com", "password": peoplesPassword, "scopes": []string{}}})
	w.operatorSends("actAs", fuzzRequest{Body: object{"subject": "customer-17850"}})
	var keys struct{ Keys []struct{ ID, State string } }
	w.call("operator of identity", http.MethodGet, "/v1/keys", nil, &keys)
	for _, k := range keys.Keys {
		if k.State == "next" {
			w.operatorSends("revokeKey", fuzzRequest{Path: map[string]string{"key": k.ID}})
		}
	}
	w.operatorSends("putGroups", fuzzRequest{Path: ann, Body: object{"groups": []string{"trade"}}})
	w.operatorSends("importProducts", fuzzRequest{Media: "application/x-ndjson",
		Body: fmt.Sprintf("%s\n", `{"id": "coffee", "state": "published", "title": "Coffee", "variants": [{"sku": "COFFEE"}]}`)})
	create := map[string]string{"If-None-Match": "*"}
	w.operatorSends("setStock", fuzzRequest{Path: map[string]string{"sku": "COFFEE"}, Headers: create, Body: object{"warehouses": []object{{"warehouse": "leeds", "on_hand": 3}}}})
	w.operatorSends("adjustStock", fuzzRequest{Path: map[string]string{"sku": "TEA"}, Headers: map[string]string{"Idempotency-Key": uuid.NewString()},
		Body: object{"reason": "PO 17", "warehouses": []object{{"warehouse": "leeds", "delta": 1}}}})
	product := object{"state": "published", "title": "Tea", "variants": []object{{"sku": "GREEN-TEA"}}}
	w.operatorSends("putProduct", fuzzRequest{Path: map[string]string{"id": "green-tea"}, Headers: create, Body: product})
	var tea struct{ Version json.Number }
	w.call("operator of catalog", http.MethodGet, "/v1/products/tea", nil, &tea)
	w.operatorSends("putProduct", fuzzRequest{Path: map[string]string{"id": "tea"}, Headers: map[string]string{"If-Match": fmt.Sprintf("%q", tea.Version)},
		Body: object{"state": "published", "title": "Black tea", "variants": []object{{"sku": "TEA"}}}})
	w.operatorSends("putCategory", fuzzRequest{Path: map[string]string{"id": "food"}, Headers: create, Body: object{"name": "Food"}})
	w.operatorSends("putCategory", fuzzRequest{Path: map[string]string{"id": "drinks"}, Headers: map[string]string{"If-Match": `"1"`}, Body: object{"name": "Beverages"}})
	w.operatorSends("setCompany", fuzzRequest{Path: map[string]string{"company": "other"}, Body: object{
		"name": "other", "currency": "GBP", "credit_limit": 1_000, "warehouses": []string{"leeds"}, "policy": object{
			"rules": []string{}, "approvers": []string{}, "delegations": []string{}, "remind_after": "0s", "escalate_after": "0s", "expire_after": "1h"},
	}})
	w.operatorSends("putRoute", fuzzRequest{Body: object{"prefix": "/v1/elsewhere", "url": "http://127.0.0.1:9"}})
}
