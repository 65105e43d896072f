package inventory

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"quadrille.internal/events"
	"quadrille.internal/events/b2b"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMigrations(t *testing.T) { servicetest.CheckMigrations(t, migrations) }

var epoch = time.Date(2024, 6, 14, 9, 30, 0, 0, time.UTC)

// fixture is the service on a database of its own.
type fixture struct {
	kit *service.Kit
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	return fixture{servicetest.NewKit(t, Service())}
}

// inbox runs a replica's inbox that holds stock for ttl.
func (f fixture) inbox(t *testing.T, ttl time.Duration) *servicetest.Inbox {
	t.Helper()
	return servicetest.RunInbox(t, f.kit, (&handler{ttl: ttl}).handle)
}

func (f fixture) serve(t *testing.T) *servicetest.Client {
	t.Helper()
	s := &server{pool: f.kit.Pool, api: f.kit.API}
	return servicetest.Serve(t, func(r chi.Router) { s.routes(r); s.operatorRoutes(r) })
}

// put sets what lies in warehouses.
func (f fixture) put(t *testing.T, counts ...Stock) {
	t.Helper()
	if err := setStock(t.Context(), f.kit.Pool, counts, precondition{}); err != nil {
		t.Fatal(err)
	}
}

// checkBooks proves that stock is what was put less what was shipped, and that
// just what held reservations are allocated is held.
func (f fixture) checkBooks(t *testing.T) {
	t.Helper()
	var wrong int
	err := f.kit.Pool.QueryRow(t.Context(), `
		with allocated as (
			select a.sku, a.warehouse,
			       coalesce(sum(a.quantity) filter (where status = 'held'), 0) held,
			       coalesce(sum(a.quantity) filter (where status = 'shipped'), 0) shipped
			from reservations, jsonb_to_recordset(allocations) a (sku text, warehouse text, quantity bigint)
			where jsonb_typeof(allocations) = 'array'
			group by 1, 2),
		put as (select sku, warehouse, sum(delta) delta from stock_movements group by 1, 2)
		select count(*) from stock
		left join allocated using (sku, warehouse) left join put using (sku, warehouse)
		where stock.held <> coalesce(allocated.held, 0)
		   or on_hand <> coalesce(delta, 0) - coalesce(shipped, 0)`).Scan(&wrong)
	if err != nil {
		t.Fatal(err)
	}
	if wrong > 0 {
		t.Errorf("the books of %d stocks are wrong", wrong)
	}
}

// checkCommitted proves that just what is shipped was announced as committed, with its
// allocations, each order once.
func (f fixture) checkCommitted(t *testing.T) {
	t.Helper()
	rows, err := f.kit.Pool.Query(t.Context(), `select id, allocations from reservations where status = 'shipped'`)
	if err != nil {
		t.Fatal(err)
	}
	shipped := make(map[uuid.UUID][]events.Allocation)
	var id uuid.UUID
	var allocations []events.Allocation
	if _, err := pgx.ForEachRow(rows, []any{&id, &allocations}, func() error {
		shipped[id] = slices.Clone(allocations)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	committed := make(map[uuid.UUID][]events.Allocation)
	for id, list := range servicetest.Emitted(t, f.kit.Pool) {
		for _, e := range list {
			if c, ok := e.(*inventory.Committed); ok {
				if committed[id] != nil {
					t.Errorf("order %s was announced as committed twice", id)
				}
				committed[id] = c.Allocations
			}
		}
	}
	if !reflect.DeepEqual(committed, shipped) {
		t.Errorf("%d orders are shipped, %d announced as committed, or with other stock:\n%v\n%v",
			len(shipped), len(committed), shipped, committed)
	}
}

// stock returns a SKU's units on hand and held, over all warehouses.
func (f fixture) stock(t *testing.T, sku string) (onHand, held int64) {
	t.Helper()
	err := f.kit.Pool.QueryRow(t.Context(),
		`select sum(on_hand), sum(held) from stock where sku = $1`, sku).Scan(&onHand, &held)
	if err != nil {
		t.Fatal(err)
	}
	return onHand, held
}

func created(id uuid.UUID, lines ...events.Line) *checkout.OrderCreated {
	var sum int64
	for i := range lines {
		lines[i].UnitPrice = 100
		sum += lines[i].Quantity * lines[i].UnitPrice
	}
	return &checkout.OrderCreated{
		OfOrder: events.OfOrder{OrderID: id}, CustomerID: "17850", Lines: lines,
		Total: events.Money{Amount: sum, Currency: "GBP"}, PaymentToken: "tok_success",
	}
}

func paymentFailed(id uuid.UUID) *payment.Failed {
	return &payment.Failed{OfOrder: events.OfOrder{OrderID: id},
		Reason: events.Reason{Code: events.ReasonPaymentDeclined, Message: "Your payment was declined."}}
}

func orderConfirmed(id uuid.UUID) *order.Confirmed {
	return &order.Confirmed{OfOrder: events.OfOrder{OrderID: id}, CustomerID: "17850",
		Total: events.Money{Amount: 100, Currency: "GBP"}}
}

func companyCompleted(id uuid.UUID) *b2b.OrderCompleted {
	return &b2b.OrderCompleted{OfOrder: events.OfOrder{OrderID: id}, CompanyID: "acme",
		Total: events.Money{Amount: 100, Currency: "GBP"}, ERPOrderID: "erp_1"}
}

func orderCancelled(id uuid.UUID) *order.Cancelled {
	return &order.Cancelled{OfOrder: events.OfOrder{OrderID: id}, CustomerID: "17850",
		Reason: events.Reason{Code: events.ReasonCustomerRequest, Message: "Cancelled at your request."}}
}
