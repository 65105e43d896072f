package events_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/b2b"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/events/price"
)

func TestSamplesAreValid(t *testing.T) {
	for _, def := range events.Definitions() {
		e := def.Sample
		if err := e.Validate(); err != nil {
			t.Errorf("%s: %v", e.Type(), err)
		}
	}
}

func TestOrderCreatedValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*checkout.OrderCreated)
		want   string // part of the error, "" for none
	}{
		{"no order", func(e *checkout.OrderCreated) { e.OrderID = uuid.Nil }, "order_id"},
		{"no customer", func(e *checkout.OrderCreated) { e.CustomerID = "" }, "customer_id"},
		{"no token", func(e *checkout.OrderCreated) { e.PaymentToken = "" }, "payment_token"},
		{"no lines", func(e *checkout.OrderCreated) { e.Lines = nil }, "1 to 1000 lines"},
		{"no sku", func(e *checkout.OrderCreated) { e.Lines[1].SKU = "" }, "line 1: sku"},
		{"nothing of a sku", func(e *checkout.OrderCreated) { e.Lines[0].Quantity = 0 }, "line 0: quantity 0"},
		{"too many of a sku", func(e *checkout.OrderCreated) { e.Lines[0].Quantity = events.MaxQuantity + 1 }, "quantity"},
		{"negative price", func(e *checkout.OrderCreated) { e.Lines[0].UnitPrice = -1 }, "unit_price -1"},
		{"absurd price", func(e *checkout.OrderCreated) { e.Lines[0].UnitPrice = events.MaxUnitPrice + 1 }, "unit_price"},
		{"wrong total", func(e *checkout.OrderCreated) { e.Total.Amount++ }, "total 1870 is not the sum of lines and extras, 1869"},
		{"negative total", func(e *checkout.OrderCreated) { e.Total.Amount = -1 }, "negative"},
		{"small letters", func(e *checkout.OrderCreated) { e.Total.Currency = "gbp" }, "currency"},
		{"too many lines", func(e *checkout.OrderCreated) {
			e.Lines = slices.Repeat(e.Lines[:1], events.MaxLines+1)
		}, "1 to 1000 lines"},
		{"the most there can be", func(e *checkout.OrderCreated) {
			most := events.Line{SKU: "x", Quantity: events.MaxQuantity, UnitPrice: events.MaxUnitPrice}
			e.Lines = slices.Repeat([]events.Line{most}, events.MaxLines)
			e.Total.Amount = events.MaxLines * events.MaxQuantity * events.MaxUnitPrice
		}, ""},
		{"one sku on two lines", func(e *checkout.OrderCreated) { e.Lines[1].SKU = e.Lines[0].SKU }, ""},
		{"free", func(e *checkout.OrderCreated) {
			e.Lines = []events.Line{{SKU: "gift", Quantity: 1}}
			e.Total.Amount = 0
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := created()
			c.change(&e)
			wantError(t, e.Validate(), c.want)
		})
	}
}

func TestValidateNamesWhatIsMissing(t *testing.T) {
	subject := events.OfOrder{OrderID: uuid.MustParse("01977420-0000-7000-8000-00000000f00d")}
	money := events.Money{Amount: 1, Currency: "GBP"}
	reason := events.Reason{Code: "c", Message: "m"}
	held := reserved().Allocations
	at := time.Date(2026, 6, 15, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name  string
		event events.Event
		want  string
	}{
		{"reserved without allocations", inventory.Reserved{OfOrder: subject, Total: money, PaymentToken: "t", ExpiresAt: at}, "allocations"},
		{"reserved without token", inventory.Reserved{OfOrder: subject, Allocations: held, Total: money, ExpiresAt: at}, "payment_token"},
		{"reserved without expiry", inventory.Reserved{OfOrder: subject, Allocations: held, Total: money, PaymentToken: "t"}, "expires_at"},
		{"reserved without currency", inventory.Reserved{OfOrder: subject, Allocations: held, PaymentToken: "t", ExpiresAt: at}, "currency"},
		{"failed without reason", inventory.ReservationFailed{OfOrder: subject}, "reason"},
		{"failed without order", inventory.ReservationFailed{Reason: reason}, "order_id"},
		{"expired without time", inventory.ReservationExpired{OfOrder: subject}, "expired_at"},
		{"expired without order", inventory.ReservationExpired{ExpiredAt: at}, "order_id"},
		{"released nothing", inventory.Released{OfOrder: subject}, "allocations"},
		{"released from nowhere", inventory.Released{OfOrder: subject, Allocations: []events.Allocation{{SKU: "x", Quantity: 1}}}, "warehouse"},
		{"released none of it", inventory.Released{OfOrder: subject, Allocations: []events.Allocation{{SKU: "x", Warehouse: "w"}}}, "positive quantity"},
		{"paid without charge", payment.Completed{OfOrder: subject, Amount: money}, "charge_id"},
		{"paid without currency", payment.Completed{OfOrder: subject, ChargeID: "ch"}, "currency"},
		{"declined without message", payment.Failed{OfOrder: subject, Reason: events.Reason{Code: "c"}}, "reason"},
		{"refunded without refund", payment.Refunded{OfOrder: subject, Amount: money}, "refund_id"},
		{"refunded without order", payment.Refunded{RefundID: "re", Amount: money}, "order_id"},
		{"confirmed without total", order.Confirmed{OfOrder: subject, CustomerID: "c"}, "currency"},
		{"cancelled without reason", order.Cancelled{OfOrder: subject, CustomerID: "c"}, "reason"},
		{"b2b rejected without company", b2b.OrderRejected{OfOrder: subject, Reason: reason}, "company_id"},
		{"b2b rejected without order", b2b.OrderRejected{CompanyID: "c", Reason: reason}, "order_id"},
		{"b2b rejected without reason", b2b.OrderRejected{OfOrder: subject, CompanyID: "c"}, "reason"},
		{"b2b approved by nobody", b2b.OrderApproved{OfOrder: subject, CompanyID: "c"}, "approvals"},
		{"b2b allocated nothing", b2b.OrderAllocated{OfOrder: subject, CompanyID: "c"}, "allocations"},
		{"b2b completed without ERP order", b2b.OrderCompleted{OfOrder: subject, CompanyID: "c", Total: money}, "erp_order_id"},
		{"b2b completed without currency", b2b.OrderCompleted{OfOrder: subject, CompanyID: "c", ERPOrderID: "e"}, "currency"},
		{"b2b failed as completed", b2b.OrderFailed{OfOrder: subject, CompanyID: "c", Status: "completed", Reason: reason}, "status"},
		{"b2b failed without reason", b2b.OrderFailed{OfOrder: subject, CompanyID: "c", Status: "failed"}, "reason"},
	} {
		t.Run(c.name, func(t *testing.T) { wantError(t, c.event.Validate(), c.want) })
	}
}

func TestB2BOrderSubmittedValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*b2b.OrderSubmitted)
		want   string
	}{
		{"no order", func(e *b2b.OrderSubmitted) { e.OrderID = uuid.Nil }, "order_id"},
		{"no company", func(e *b2b.OrderSubmitted) { e.CompanyID = "" }, "company_id"},
		{"ordered by nobody", func(e *b2b.OrderSubmitted) { e.OrderedBy = "" }, "ordered_by"},
		{"no lines", func(e *b2b.OrderSubmitted) { e.Lines = nil }, "1 to 1000 lines"},
		{"nothing of a sku", func(e *b2b.OrderSubmitted) { e.Lines[0].Quantity = 0 }, "line 0: quantity 0"},
		{"wrong total", func(e *b2b.OrderSubmitted) { e.Total.Amount++ }, "not the sum"},
		{"no currency", func(e *b2b.OrderSubmitted) { e.Total.Currency = "" }, "currency"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := submitted()
			c.change(&e)
			wantError(t, e.Validate(), c.want)
		})
	}
}

func TestB2BApprovalValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*b2b.ApprovalRequested, *b2b.ApprovalEscalated) events.Event
		want   string
	}{
		{"needs nobody", func(r *b2b.ApprovalRequested, _ *b2b.ApprovalEscalated) events.Event {
			r.Need = 0
			return r
		}, "need"},
		{"asks too few", func(r *b2b.ApprovalRequested, _ *b2b.ApprovalEscalated) events.Event {
			r.Need = 3
			return r
		}, "as many approvers"},
		{"asks for ever", func(r *b2b.ApprovalRequested, _ *b2b.ApprovalEscalated) events.Event {
			r.ExpiresAt = time.Time{}
			return r
		}, "expires_at"},
		{"asks about no money", func(r *b2b.ApprovalRequested, _ *b2b.ApprovalEscalated) events.Event {
			r.Total.Currency = ""
			return r
		}, "currency"},
		{"escalates to nobody", func(_ *b2b.ApprovalRequested, e *b2b.ApprovalEscalated) events.Event {
			e.Approvers = nil
			return e
		}, "approvers"},
		{"escalates for ever", func(_ *b2b.ApprovalRequested, e *b2b.ApprovalEscalated) events.Event {
			e.ExpiresAt = time.Time{}
			return e
		}, "expires_at"},
		{"escalates for no company", func(_ *b2b.ApprovalRequested, e *b2b.ApprovalEscalated) events.Event {
			e.CompanyID = ""
			return e
		}, "company_id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, e := requested(), escalated()
			wantError(t, c.change(&r, &e).Validate(), c.want)
		})
	}
}

func TestValidCurrency(t *testing.T) {
	for s, want := range map[string]bool{
		"GBP": true, "EUR": true, "JPY": true, "XCG": true, "ZWG": true,
		"ZZZ": false, "XTS": false, "XXX": false, "XAU": false, "CLF": false, "HRK": false, "BGN": false,
		"": false, "GB": false, "GBPX": false, "gbp": false, "G1P": false, "€UR": false,
	} {
		if got := events.ValidCurrency(s); got != want {
			t.Errorf("ValidCurrency(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestMinorUnits(t *testing.T) {
	for code, want := range map[string]int{"GBP": 2, "JPY": 0, "KWD": 3, "ZZZ": 2} {
		if got := events.MinorUnits(code); got != want {
			t.Errorf("MinorUnits(%q) = %d, want %d", code, got, want)
		}
	}
}

// What was published once stays readable, whatever became of its currency.
func TestEventsInOtherCurrenciesStayReadable(t *testing.T) {
	e := created()
	e.Total.Currency = "ZZZ"
	raw, err := events.Encode(uuid.New(), "checkout", time.Now(), "", e)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := events.Decode(raw); err != nil {
		t.Error(err)
	}
}

// wantError wants an error that says part, or none where part is empty.
func wantError(t *testing.T, err error, part string) {
	t.Helper()
	switch {
	case part == "" && err != nil:
		t.Errorf("unexpected error: %v", err)
	case part != "" && err == nil:
		t.Errorf("no error, want one that says %q", part)
	case part != "" && !strings.Contains(err.Error(), part):
		t.Errorf("error %q does not say %q", err, part)
	}
}

func TestStockChangedValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*inventory.StockChanged)
		want   string
	}{
		{"no SKUs", func(e *inventory.StockChanged) { e.SKUs = nil }, "0 SKUs, want 1 to 100"},
		{"too many SKUs", func(e *inventory.StockChanged) { e.SKUs = slices.Repeat(e.SKUs, 51) }, "102 SKUs, want 1 to 100"},
		{"a SKU twice", func(e *inventory.StockChanged) { e.SKUs[1] = e.SKUs[0] }, `SKU 1: "22423" is not behind "22423"`},
		{"no name", func(e *inventory.StockChanged) { e.SKUs[0].SKU = "" }, "SKU 0: sku"},
		{"no version", func(e *inventory.StockChanged) { e.SKUs[1].Version = 0 }, "SKU 1: sku, version"},
		{"no warehouse", func(e *inventory.StockChanged) { e.SKUs[1].Warehouses = nil }, "SKU 1: sku, version and warehouses"},
		{"a warehouse without name", func(e *inventory.StockChanged) { e.SKUs[1].Warehouses[1].Warehouse = "" }, "SKU 1: warehouse 1"},
		{"less than nothing", func(e *inventory.StockChanged) { e.SKUs[0].Warehouses[0].Available = -1 }, "SKU 0: warehouse 0"},
		{"a wrong sum", func(e *inventory.StockChanged) { e.SKUs[1].Available++ }, "SKU 1: available is 13, the sum of the warehouses 12"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := sample[inventory.StockChanged]()
			c.change(&e)
			wantError(t, e.Validate(), c.want)
		})
	}
}

func TestPriceUpdatedValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*price.PriceUpdated)
		want   string
	}{
		{"no products", func(e *price.PriceUpdated) { e.Products = nil }, "0 products, want 1 to 100"},
		{"too many products", func(e *price.PriceUpdated) { e.Products = slices.Repeat(e.Products, 51) }, "102 products, want 1 to 100"},
		{"a SKU twice", func(e *price.PriceUpdated) { e.Products[1] = e.Products[0] }, `product 1: "71053" is not behind "71053"`},
		{"no name", func(e *price.PriceUpdated) { e.Products[0].SKU = "" }, "product 0: sku"},
		{"no version", func(e *price.PriceUpdated) { e.Products[1].Version = 0 }, "product 1: sku and version"},
		{"a currency twice", func(e *price.PriceUpdated) { e.Products[1].Prices[1] = e.Products[1].Prices[0] }, "GBP is not behind GBP"},
		{"less than nothing", func(e *price.PriceUpdated) { e.Products[1].Prices[0].Amount = -1 }, "negative"},
		{"above the list price", func(e *price.PriceUpdated) { e.Products[1].Prices[0].Amount = 296 }, "GBP: a list price as high"},
		{"it ends before it begins", func(e *price.PriceUpdated) { e.Products[1].Prices[0].ValidUntil = &time.Time{} }, "later valid_until"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := sample[price.PriceUpdated]()
			c.change(&e)
			wantError(t, e.Validate(), c.want)
		})
	}
}
