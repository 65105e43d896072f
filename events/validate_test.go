package events_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
)

func TestSamplesAreValid(t *testing.T) {
	for _, e := range samples() {
		if err := e.Validate(); err != nil {
			t.Errorf("%s: %v", e.Type(), err)
		}
	}
}

func TestOrderCreatedValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*events.OrderCreated)
		want   string // part of the error, "" for none
	}{
		{"no order", func(e *events.OrderCreated) { e.OrderID = uuid.Nil }, "order_id"},
		{"no customer", func(e *events.OrderCreated) { e.CustomerID = "" }, "customer_id"},
		{"no token", func(e *events.OrderCreated) { e.PaymentToken = "" }, "payment_token"},
		{"no lines", func(e *events.OrderCreated) { e.Lines = nil }, "1 to 1000 lines"},
		{"no sku", func(e *events.OrderCreated) { e.Lines[1].SKU = "" }, "line 1: sku"},
		{"nothing of a sku", func(e *events.OrderCreated) { e.Lines[0].Quantity = 0 }, "line 0: quantity 0"},
		{"too many of a sku", func(e *events.OrderCreated) { e.Lines[0].Quantity = events.MaxQuantity + 1 }, "quantity"},
		{"negative price", func(e *events.OrderCreated) { e.Lines[0].UnitPrice = -1 }, "unit_price -1"},
		{"absurd price", func(e *events.OrderCreated) { e.Lines[0].UnitPrice = events.MaxUnitPrice + 1 }, "unit_price"},
		{"wrong total", func(e *events.OrderCreated) { e.Total.Amount++ }, "total 1870 is not the sum of the lines, 1869"},
		{"negative total", func(e *events.OrderCreated) { e.Total.Amount = -1 }, "negative"},
		{"small letters", func(e *events.OrderCreated) { e.Total.Currency = "gbp" }, "currency"},
		{"too many lines", func(e *events.OrderCreated) {
			e.Lines = slices.Repeat(e.Lines[:1], events.MaxLines+1)
		}, "1 to 1000 lines"},
		{"the most there can be", func(e *events.OrderCreated) {
			most := events.Line{SKU: "x", Quantity: events.MaxQuantity, UnitPrice: events.MaxUnitPrice}
			e.Lines = slices.Repeat([]events.Line{most}, events.MaxLines)
			e.Total.Amount = events.MaxLines * events.MaxQuantity * events.MaxUnitPrice
		}, ""},
		{"one sku on two lines", func(e *events.OrderCreated) { e.Lines[1].SKU = e.Lines[0].SKU }, ""},
		{"free", func(e *events.OrderCreated) {
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
	subject := events.Subject{OrderID: orderID}
	money := events.Money{Amount: 1, Currency: "GBP"}
	reason := events.Reason{Code: "c", Message: "m"}
	held := reserved().Allocations
	at := time.Date(2026, 6, 15, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name  string
		event events.Event
		want  string
	}{
		{"reserved without allocations", events.InventoryReserved{Subject: subject, Total: money, PaymentToken: "t", ExpiresAt: at}, "allocations"},
		{"reserved without token", events.InventoryReserved{Subject: subject, Allocations: held, Total: money, ExpiresAt: at}, "payment_token"},
		{"reserved without expiry", events.InventoryReserved{Subject: subject, Allocations: held, Total: money, PaymentToken: "t"}, "expires_at"},
		{"reserved without currency", events.InventoryReserved{Subject: subject, Allocations: held, PaymentToken: "t", ExpiresAt: at}, "currency"},
		{"failed without reason", events.ReservationFailed{Subject: subject}, "reason"},
		{"failed without order", events.ReservationFailed{Reason: reason}, "order_id"},
		{"expired without time", events.ReservationExpired{Subject: subject}, "expired_at"},
		{"expired without order", events.ReservationExpired{ExpiredAt: at}, "order_id"},
		{"released nothing", events.InventoryReleased{Subject: subject}, "allocations"},
		{"released from nowhere", events.InventoryReleased{Subject: subject, Allocations: []events.Allocation{{SKU: "x", Quantity: 1}}}, "warehouse"},
		{"released none of it", events.InventoryReleased{Subject: subject, Allocations: []events.Allocation{{SKU: "x", Warehouse: "w"}}}, "positive quantity"},
		{"paid without charge", events.PaymentCompleted{Subject: subject, Amount: money}, "charge_id"},
		{"paid without currency", events.PaymentCompleted{Subject: subject, ChargeID: "ch"}, "currency"},
		{"declined without message", events.PaymentFailed{Subject: subject, Reason: events.Reason{Code: "c"}}, "reason"},
		{"refunded without refund", events.PaymentRefunded{Subject: subject, Amount: money}, "refund_id"},
		{"refunded without order", events.PaymentRefunded{RefundID: "re", Amount: money}, "order_id"},
		{"confirmed without total", events.OrderConfirmed{Subject: subject, CustomerID: "c"}, "currency"},
		{"cancelled without reason", events.OrderCancelled{Subject: subject, CustomerID: "c"}, "reason"},
		{"b2b rejected without company", events.B2BOrderRejected{Subject: subject, Reason: reason}, "company_id"},
		{"b2b rejected without order", events.B2BOrderRejected{CompanyID: "c", Reason: reason}, "order_id"},
		{"b2b rejected without reason", events.B2BOrderRejected{Subject: subject, CompanyID: "c"}, "reason"},
		{"b2b approved by nobody", events.B2BOrderApproved{Subject: subject, CompanyID: "c"}, "approvals"},
		{"b2b allocated nothing", events.B2BOrderAllocated{Subject: subject, CompanyID: "c"}, "allocations"},
		{"b2b completed without ERP order", events.B2BOrderCompleted{Subject: subject, CompanyID: "c", Total: money}, "erp_order_id"},
		{"b2b completed without currency", events.B2BOrderCompleted{Subject: subject, CompanyID: "c", ERPOrderID: "e"}, "currency"},
		{"b2b failed as completed", events.B2BOrderFailed{Subject: subject, CompanyID: "c", Status: "completed", Reason: reason}, "status"},
		{"b2b failed without reason", events.B2BOrderFailed{Subject: subject, CompanyID: "c", Status: "failed"}, "reason"},
	} {
		t.Run(c.name, func(t *testing.T) { wantError(t, c.event.Validate(), c.want) })
	}
}

func TestB2BOrderSubmittedValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*events.B2BOrderSubmitted)
		want   string
	}{
		{"no order", func(e *events.B2BOrderSubmitted) { e.OrderID = uuid.Nil }, "order_id"},
		{"no company", func(e *events.B2BOrderSubmitted) { e.CompanyID = "" }, "company_id"},
		{"ordered by nobody", func(e *events.B2BOrderSubmitted) { e.OrderedBy = "" }, "ordered_by"},
		{"no lines", func(e *events.B2BOrderSubmitted) { e.Lines = nil }, "1 to 1000 lines"},
		{"nothing of a sku", func(e *events.B2BOrderSubmitted) { e.Lines[0].Quantity = 0 }, "line 0: quantity 0"},
		{"wrong total", func(e *events.B2BOrderSubmitted) { e.Total.Amount++ }, "not the sum"},
		{"no currency", func(e *events.B2BOrderSubmitted) { e.Total.Currency = "" }, "currency"},
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
		change func(*events.B2BApprovalRequested, *events.B2BApprovalEscalated) events.Event
		want   string
	}{
		{"needs nobody", func(r *events.B2BApprovalRequested, _ *events.B2BApprovalEscalated) events.Event {
			r.Need = 0
			return r
		}, "need"},
		{"asks too few", func(r *events.B2BApprovalRequested, _ *events.B2BApprovalEscalated) events.Event {
			r.Need = 3
			return r
		}, "as many approvers"},
		{"asks for ever", func(r *events.B2BApprovalRequested, _ *events.B2BApprovalEscalated) events.Event {
			r.ExpiresAt = time.Time{}
			return r
		}, "expires_at"},
		{"asks about no money", func(r *events.B2BApprovalRequested, _ *events.B2BApprovalEscalated) events.Event {
			r.Total.Currency = ""
			return r
		}, "currency"},
		{"escalates to nobody", func(_ *events.B2BApprovalRequested, e *events.B2BApprovalEscalated) events.Event {
			e.Approvers = nil
			return e
		}, "approvers"},
		{"escalates for ever", func(_ *events.B2BApprovalRequested, e *events.B2BApprovalEscalated) events.Event {
			e.ExpiresAt = time.Time{}
			return e
		}, "expires_at"},
		{"escalates for no company", func(_ *events.B2BApprovalRequested, e *events.B2BApprovalEscalated) events.Event {
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
