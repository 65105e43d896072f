package decisionlog

import (
	"errors"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/events"
)

func sampleOrder() *Order {
	return &Order{
		ID: uuid.MustParse("01977420-0000-7000-8000-00000000f00d"), CompanyID: "acme", OrderedBy: "carl", Currency: "GBP", Amount: 700,
		Lines: []events.Line{{SKU: "a", Quantity: 2, UnitPrice: 300}, {SKU: "b", Quantity: 1, UnitPrice: 100}},
	}
}

// The hash of an order that was decided on never changes.
func TestOrderHashStays(t *testing.T) {
	const want = "order.v1:2543141fcefb9c93bcfec8e3ab378e3a8b56128f7190a49b83bc9d2cf99d3a34"
	if got := sampleOrder().Hash(); got != want {
		t.Errorf("hash is %s, want %s", got, want)
	}
}

func TestOrderHashTellsOrdersApart(t *testing.T) {
	seen := map[string]string{sampleOrder().Hash(): "the order"}
	for name, change := range map[string]func(*Order){
		"id":          func(o *Order) { o.ID = uuid.New() },
		"company":     func(o *Order) { o.CompanyID = "other" },
		"who ordered": func(o *Order) { o.OrderedBy = "mallory" },
		"currency":    func(o *Order) { o.Currency = "EUR" },
		"amount":      func(o *Order) { o.Amount++ },
		"back-orders": func(o *Order) { o.AllowBackorder = true },
		"SKU":         func(o *Order) { o.Lines[0].SKU = "c" },
		"quantity":    func(o *Order) { o.Lines[0].Quantity++ },
		"price":       func(o *Order) { o.Lines[1].UnitPrice++ },
		"order":       func(o *Order) { o.Lines[0], o.Lines[1] = o.Lines[1], o.Lines[0] },
		"fewer lines": func(o *Order) { o.Lines = o.Lines[:1] },
		"shifted":     func(o *Order) { o.CompanyID, o.OrderedBy = `acme","carl`, "" },
	} {
		o := sampleOrder()
		change(o)
		if other, ok := seen[o.Hash()]; ok {
			t.Errorf("another %s has the hash of %s", name, other)
		}
		seen[o.Hash()] = name
	}
}

func TestCheckOrder(t *testing.T) {
	o := sampleOrder()
	now := Decision{OrderID: o.ID, OrderHash: o.Hash(), MAC: "seal"}
	old := Decision{OrderID: o.ID, OrderHash: "request"}
	for _, c := range []struct {
		name   string
		given  []Decision
		broken bool
	}{
		{"none", nil, false},
		{"on this order", []Decision{now, now}, false},
		{"an old one, and one since", []Decision{old, now}, false},
		{"on another", []Decision{now, {OrderID: o.ID, OrderHash: "order.v1:other", MAC: "seal"}}, true},
		{"an old one on another request", []Decision{{OrderID: o.ID, OrderHash: "other"}}, true},
		{"an old one with a seal", []Decision{{OrderID: o.ID, OrderHash: "request", MAC: "seal"}}, true},
		{"another order's", []Decision{{OrderID: uuid.New(), OrderHash: o.Hash(), MAC: "seal"}}, true},
	} {
		if err := CheckOrder(c.given, o, "request"); errors.Is(err, ErrBroken) != c.broken {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
