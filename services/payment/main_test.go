package payment

import (
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"quadrille.internal/events"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/platform/config"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(removeStandIns)) }

func removeStandIns(code int) {
	servicetest.RemoveStandIns()
	os.Exit(code)
}

func TestMigrations(t *testing.T) { servicetest.CheckMigrations(t, migrations) }

var epoch = time.Date(2024, 6, 14, 9, 30, 0, 0, time.UTC)

const amount = 1530 // of every order

// fixture is the service on a database of its own, and its provider.
type fixture struct {
	kit *service.Kit
	psp *standIn
}

func newFixture(t *testing.T, slow time.Duration) fixture {
	t.Helper()
	return fixture{kit: servicetest.NewKit(t, Service()), psp: startStandIn(t, slow)}
}

// replica is one process of the service. Its cashier may be left out.
type replica struct {
	*cashier
	*servicetest.Inbox
}

func (f fixture) replica(t *testing.T) replica {
	t.Helper()
	return f.replicaOf(t, f.psp.URL, f.psp.Key)
}

// replicaOf asks a provider at another address, or with another key.
func (f fixture) replicaOf(t *testing.T, url, key string) replica {
	t.Helper()
	p := newProvider(url, config.Secret(key), f.kit.Log)
	t.Cleanup(p.client.CloseIdleConnections)
	c := newCashier(f.kit, p)
	return replica{c, servicetest.RunInbox(t, f.kit, c.handle)}
}

func (r replica) withCashier(t *testing.T) replica {
	t.Helper()
	servicetest.Run(t, r.outcomes.Run)
	servicetest.Run(t, r.cashier.run)
	return r
}

func (r replica) deliver(t *testing.T, e events.Event) {
	t.Helper()
	r.Deliver(servicetest.Message(t, e, epoch))
}

// payment returns a payment as it is recorded, or nil.
func (f fixture) payment(t *testing.T, id uuid.UUID) *Payment {
	t.Helper()
	found, err := payments.Load(t.Context(), f.kit.Pool, []uuid.UUID{id})
	if err != nil {
		t.Fatal(err)
	}
	return found[id]
}

// await waits for a payment to have a status.
func (f fixture) await(t *testing.T, id uuid.UUID, want Status) *Payment {
	t.Helper()
	var p *Payment
	servicetest.Await(t, "payment is "+string(want), func() bool {
		p = f.payment(t, id)
		return p != nil && p.Status == want
	})
	return p
}

// makeDue lets every lease run out.
func (f fixture) makeDue(t *testing.T) {
	t.Helper()
	f.exec(t, `update payments set due_at = now(), version = version + 1 where due_at is not null`)
}

func (f fixture) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := f.kit.Pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func inventoryReserved(id uuid.UUID, token string) *inventory.Reserved {
	return &inventory.Reserved{
		OfOrder: events.OfOrder{OrderID: id}, Total: events.Money{Amount: amount, Currency: "GBP"},
		PaymentToken: token, ExpiresAt: epoch,
		Allocations: []events.Allocation{{SKU: "85123A", Warehouse: "leeds", Quantity: 6}},
	}
}

func orderCancelled(id uuid.UUID) *order.Cancelled {
	return &order.Cancelled{OfOrder: events.OfOrder{OrderID: id}, CustomerID: "17850",
		Reason: events.Reason{Code: events.ReasonCustomerRequest, Message: "Cancelled at your request."}}
}
