package price

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quadrille.internal/events"
	"quadrille.internal/events/order"
	"quadrille.internal/events/price"
	pricev1 "quadrille.internal/events/proto/price/v1"
	"quadrille.internal/platform/config"
	"quadrille.internal/platform/quote"
	"quadrille.internal/platform/seal"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/price/audit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMigrations(t *testing.T) { servicetest.CheckMigrations(t, migrations) }

// clock is a clock that tests move.
type clock struct {
	mu sync.Mutex
	by time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.by)
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by += d
}

var masterKey = strings.Repeat("0a", 32)

// fixture is a service without listeners.
type fixture struct {
	*testing.T
	kit   *service.Kit
	app   *app
	clock *clock
	admin *servicetest.Client
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	kit := servicetest.NewKit(t, Service())
	return fixtureOn(t, kit)
}

func fixtureOn(t *testing.T, kit *service.Kit) *fixture {
	t.Helper()
	return fixtureWith(t, kit, nil)
}

// fixtureWith has settings of its own.
func fixtureWith(t *testing.T, kit *service.Kit, settings map[string]string) *fixture {
	t.Helper()
	kit.Config = config.NewReader(func(name string) (string, bool) { v, ok := settings[name]; return v, ok })
	box, err := seal.New(masterKey, "")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{T: t, kit: kit, clock: &clock{}}
	f.app = newApp(kit, box, f.clock.now)
	f.admin = servicetest.Serve(t, f.app.server.operatorRoutes)
	return f
}

// put sends a document and wants it taken.
func (f *fixture) put(path, body string, args ...any) string {
	f.Helper()
	a := f.admin.Do(http.MethodPut, path, fmt.Sprintf(body, args...))
	if a.Status != http.StatusOK {
		f.Fatalf("PUT %s: %d %s", path, a.Status, a.Body)
	}
	return a.Body
}

// list makes a list of everybody's with one SKU, TEA.
func (f *fixture) list(name string, amount int64, period string) {
	f.Helper()
	f.put("/v1/prices/lists/"+name, `{"group": "", "currency": "GBP"%s}`, period)
	f.put("/v1/prices/lists/"+name+"/prices", `{"prices": [{"sku": "TEA", "tiers": [{"min_quantity": 1, "amount": %d}]}]}`, amount)
}

const longAgo = `, "valid_from": "2026-01-01"`

func (f *fixture) request(quantity int64, voucher string) *pricev1.QuoteRequest {
	return &pricev1.QuoteRequest{
		CustomerId: "carl", CartId: "cart-1", Currency: "GBP", Voucher: voucher,
		Lines: []*pricev1.Line{{Sku: "TEA", Quantity: quantity}},
	}
}

// quote returns a quote for TEA, and its token.
func (f *fixture) quote(quantity int64, voucher string) (*price.Quote, string) {
	f.Helper()
	answer, err := f.app.prices.Quote(context.Background(), f.request(quantity, voucher))
	if err != nil || answer.GetRefusal() != nil {
		f.Fatalf("quote: %v, %v", answer, err)
	}
	q, err := quote.Read(answer.GetToken())
	if err != nil {
		f.Fatal(err)
	}
	return q, answer.GetToken()
}

func (f *fixture) commit(token string, id uuid.UUID) *pricev1.CommitResponse {
	f.Helper()
	req := &pricev1.CommitRequest{Token: token, OrderId: id.String(), CustomerId: "carl"}
	answer, err := f.app.prices.Commit(context.Background(), req)
	// Of 200 at once the last may wait too long for one row. Callers then ask again.
	for deadline := time.Now().Add(time.Minute); status.Code(err) == codes.Unavailable && time.Now().Before(deadline); {
		answer, err = f.app.prices.Commit(context.Background(), req)
	}
	if err != nil {
		f.Errorf("commit: %v", err)
	}
	return answer
}

func (f *fixture) wantOutcome(answer *pricev1.CommitResponse, want pricev1.CommitResponse_Outcome) {
	f.Helper()
	if answer.GetOutcome() != want {
		f.Errorf("answered %v, want %s", answer, want)
	}
}

// uses returns how often a voucher is held and redeemed.
func (f *fixture) uses(code string) (held, redeemed int64) {
	f.Helper()
	if err := f.kit.Pool.QueryRow(context.Background(), `select held, redeemed from vouchers where code = $1`, code).Scan(&held, &redeemed); err != nil {
		f.Fatal(err)
	}
	return held, redeemed
}

func (f *fixture) wantUses(code string, held, redeemed int64) {
	f.Helper()
	if h, r := f.uses(code); h != held || r != redeemed {
		f.Errorf("%s is held %d times and redeemed %d times, want %d and %d", code, h, r, held, redeemed)
	}
}

func (f *fixture) checkBooks() {
	f.Helper()
	servicetest.CheckBooks(f.T, f.kit.Pool, audit.Books, uuid.Nil)
}

func confirmed(id uuid.UUID) events.Event {
	return &order.Confirmed{OfOrder: events.OfOrder{OrderID: id}, CustomerID: "carl", Total: events.Money{Amount: 1, Currency: "GBP"}}
}

func cancelled(id uuid.UUID) events.Event {
	return &order.Cancelled{OfOrder: events.OfOrder{OrderID: id}, CustomerID: "carl", Reason: events.Reason{Code: "out_of_stock", Message: "Out of stock."}}
}

const tenOff = `{"kind": "order_amount", "amount": 100, "currency": "GBP", "max_uses": %d` + longAgo + `}`

const (
	committedOutcome = pricev1.CommitResponse_OUTCOME_COMMITTED
	priceChanged     = pricev1.CommitResponse_OUTCOME_PRICE_CHANGED
	quoteInvalid     = pricev1.CommitResponse_OUTCOME_QUOTE_INVALID
	quoteUsed        = pricev1.CommitResponse_OUTCOME_QUOTE_USED
	refusedOutcome   = pricev1.CommitResponse_OUTCOME_REFUSED
	orderCancelled   = pricev1.CommitResponse_OUTCOME_ORDER_CANCELLED
)
