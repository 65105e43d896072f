package checkout

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/servicetest"
)

func TestPlace(t *testing.T) {
	f := newFixture(t)
	api := f.replica(t)
	a := api.Do(http.MethodPost, "/v1/checkouts", goodBody, "Idempotency-Key", "k1")
	var r receipt
	if err := json.Unmarshal([]byte(a.Body), &r); err != nil || a.Status != http.StatusAccepted {
		t.Fatalf("answered %d %s: %v", a.Status, a.Body, err)
	}
	if want := (events.Money{Amount: 1869, Currency: "GBP"}); r.Total != want || r.OrderID != r.ID {
		t.Errorf("receipt %+v, want the total %v", r, want)
	}
	if got, want := a.Header.Get("Location"), "/v1/checkouts/"+r.ID.String(); got != want {
		t.Errorf("Location %q, want %q", got, want)
	}
	want := &checkout.OrderCreated{
		OfOrder: events.OfOrder{OrderID: r.ID}, CustomerID: "customer-17850", PaymentToken: "tok_success",
		Total: events.Money{Amount: 1869, Currency: "GBP"},
		Lines: []events.Line{{SKU: "85123A", Quantity: 6, UnitPrice: 255}, {SKU: "71053", Quantity: 1, UnitPrice: 339}},
	}
	if got := servicetest.Emitted(t, f.kit.Pool)[r.ID]; len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("announced %+v, want %+v", got, want)
	}
	var v view
	if err := json.Unmarshal([]byte(api.Do(http.MethodGet, a.Header.Get("Location"), "").Body), &v); err != nil {
		t.Fatal(err)
	}
	if v.ID != r.ID || v.Status != Placed || v.CustomerID != "customer-17850" || !reflect.DeepEqual(v.Lines, want.Lines) {
		t.Errorf("checkout %+v", v)
	}
	var tokens int
	if err := f.kit.Pool.QueryRow(t.Context(), `select count(*) from checkouts c where c::text like '%tok_success%'`).Scan(&tokens); err != nil || tokens > 0 {
		t.Errorf("the payment token is kept (error %v)", err)
	}
}

// body is a request with one thing changed.
func body(change func(*request)) string {
	req := request{CustomerID: "customer-17850", Currency: "GBP", PaymentToken: "tok_success",
		Lines: []events.Line{{SKU: "85123A", Quantity: 6, UnitPrice: 255}}}
	change(&req)
	b, _ := json.Marshal(req) // plain fields
	return string(b)
}

func TestRefusals(t *testing.T) {
	f := newFixture(t)
	api := f.replica(t)
	long := strings.Repeat("x", 65)
	for _, c := range []struct {
		name, body  string
		status      int
		code, field string
	}{
		{"no customer", body(func(r *request) { r.CustomerID = "" }), 400, "malformed", "customer_id"},
		{"customer too long", body(func(r *request) { r.CustomerID = long }), 400, "malformed", "customer_id"},
		{"currency in small letters", body(func(r *request) { r.Currency = "gbp" }), 400, "malformed", "currency"},
		{"no token", body(func(r *request) { r.PaymentToken = "" }), 400, "malformed", "payment_token"},
		{"token with a space", body(func(r *request) { r.PaymentToken = "tok success" }), 400, "malformed", "payment_token"},
		{"no lines", body(func(r *request) { r.Lines = nil }), 400, "out_of_range", "lines"},
		{"too many lines", body(func(r *request) { r.Lines = make([]events.Line, events.MaxLines+1) }), 400, "out_of_range", "lines"},
		{"no SKU", body(func(r *request) { r.Lines[0].SKU = "" }), 400, "malformed", "lines[0].sku"},
		{"SKU with a slash", body(func(r *request) { r.Lines = append(r.Lines, events.Line{SKU: "a/b", Quantity: 1}) }), 400, "malformed", "lines[1].sku"},
		{"quantity 0", body(func(r *request) { r.Lines[0].Quantity = 0 }), 400, "out_of_range", "lines[0].quantity"},
		{"quantity too large", body(func(r *request) { r.Lines[0].Quantity = events.MaxQuantity + 1 }), 400, "out_of_range", "lines[0].quantity"},
		{"negative price", body(func(r *request) { r.Lines[0].UnitPrice = -1 }), 400, "out_of_range", "lines[0].unit_price"},
		{"price too large", body(func(r *request) { r.Lines[0].UnitPrice = events.MaxUnitPrice + 1 }), 400, "out_of_range", "lines[0].unit_price"},
		{"nothing to pay", body(func(r *request) { r.Lines[0].UnitPrice = 0 }), 400, "nothing_to_pay", "lines"},
		{"unknown field", `{"coupon":"X"}`, 400, "unknown_field", "coupon"},
		{"wrong type", `{"customer_id":7}`, 400, "wrong_type", "customer_id"},
		{"half a quantity", `{"lines":[{"quantity":1.5}]}`, 400, "wrong_type", "lines.quantity"},
		{"beyond a number", `{"lines":[{"quantity":9223372036854775808}]}`, 400, "wrong_type", "lines.quantity"},
		{"no JSON", `{"customer_id":`, 400, "body_malformed", ""},
		{"two values", goodBody + goodBody, 400, "body_malformed", ""},
		{"too large", `{"customer_id":"` + strings.Repeat("x", rest.MaxBody) + `"}`, 413, "body_too_large", ""},
		{"no body", "", 415, "media_type", ""},
	} {
		a := api.Do(http.MethodPost, "/v1/checkouts", c.body, "Idempotency-Key", "k")
		if p := a.Problem(); a.Status != c.status || p.Code != c.code || p.Field != c.field {
			t.Errorf("%s: %d %s, want %d %s %s", c.name, a.Status, a.Body, c.status, c.code, c.field)
		}
	}
	for path, want := range map[string]int{"/v1/checkouts/7": 400, "/v1/checkouts/" + uuid.NewString(): 404} {
		if a := api.Do(http.MethodGet, path, ""); a.Status != want {
			t.Errorf("%s: %d %s, want %d", path, a.Status, a.Body, want)
		}
	}
	f.checkPlaced(t, 0)
}

// The largest order there may be has a total that an int64 holds.
func TestTotalDoesNotOverflow(t *testing.T) {
	req := request{CustomerID: "customer-17850", Currency: "GBP", PaymentToken: "tok_success"}
	for i := range events.MaxLines {
		req.Lines = append(req.Lines, events.Line{SKU: fmt.Sprint(i), Quantity: events.MaxQuantity, UnitPrice: events.MaxUnitPrice})
	}
	if err := req.validate(); err != nil {
		t.Fatal(err)
	}
	if want := int64(1_000_000_000_000_000_000); events.Total(req.Lines) != want {
		t.Errorf("total %d, want %d", events.Total(req.Lines), want)
	}
	c := Checkout{Lines: req.Lines, Amount: events.Total(req.Lines), Currency: req.Currency, CustomerID: req.CustomerID}
	c.ID = uuid.New()
	if err := c.Created(req.PaymentToken).Validate(); err != nil {
		t.Errorf("cannot be announced: %v", err)
	}
}
