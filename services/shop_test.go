package services_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"quadrille.internal/events/price"
	pricev1 "quadrille.internal/events/proto/price/v1"
	"quadrille.internal/platform/config"
	"quadrille.internal/platform/quote"
	"quadrille.internal/platform/seal"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/checkout"
	"quadrille.internal/services/customer"
	priceservice "quadrille.internal/services/price"
)

// shop is checkout with the real price and customer, each on a database of its own. The
// way to these can be disturbed.
type shop struct {
	t               *testing.T
	price, customer *room
	checkout        *room
	toPrice         *line
	toCustomer      *line
	prices          pricev1.PricesClient
}

// room is a service without a process.
type room struct {
	kit              *service.Kit
	app              service.App
	public, operator *servicetest.Client
	listener         *bufconn.Listener
}

// line is the way to a service.
type line struct {
	grpc.ClientConnInterface
	fault atomic.Value // of disturb
}

type disturb func(ctx context.Context, method string, call func() error) error

// The disturbances. Lost calls are carried out.
var (
	fine disturb = func(_ context.Context, _ string, call func() error) error { return call() }
	away disturb = func(context.Context, string, func() error) error { return status.Error(codes.Unavailable, "away") }
	lost disturb = func(_ context.Context, _ string, call func() error) error {
		_ = call() // whatever it answers is lost
		return status.Error(codes.Unavailable, "lost")
	}
	hangs disturb = func(ctx context.Context, _ string, _ func() error) error {
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	}
)

func (l *line) be(d disturb) { l.fault.Store(d) }

// Invoke has disturbances alone be late: a service that is only slow since the machine is
// busy gets the time it needs.
func (l *line) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	d, _ := l.fault.Load().(disturb)
	return d(ctx, method, func() error {
		patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return l.ClientConnInterface.Invoke(patient, method, args, reply, opts...)
	})
}

func newShop(t *testing.T, settings ...string) *shop {
	t.Helper()
	env := map[string]string{seal.Setting: strings.Repeat("0a", 32)}
	for i := 0; i+1 < len(settings); i += 2 {
		env[settings[i]] = settings[i+1]
	}
	s := &shop{t: t, toPrice: &line{}, toCustomer: &line{}}
	lines := map[string]*line{"price": s.toPrice, "customer": s.toCustomer, "checkout": {}}
	calls := func(name string) grpc.ClientConnInterface { return lines[name] }
	rooms := make(map[string]*room)
	for _, l := range lines {
		l.be(fine)
	}
	// The ways first: a service may call another as soon as it runs.
	for name, l := range lines {
		r := &room{listener: bufconn.Listen(1 << 20)}
		conn, err := grpc.NewClient("passthrough:"+name, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return r.listener.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		l.ClientConnInterface, rooms[name] = conn, r
	}
	for _, spec := range []service.Spec{priceservice.Service(), customer.Service(), checkout.Service()} {
		rooms[spec.Name].open(t, spec, env, calls)
	}
	s.price, s.customer, s.checkout = rooms["price"], rooms["customer"], rooms["checkout"]
	s.prices = pricev1.NewPricesClient(lines["price"].ClientConnInterface)
	s.put(s.price, "/v1/prices/lists/retail", `{"group": "", "currency": "GBP", "valid_from": "2026-01-01"}`)
	s.reprice(450)
	return s
}

// open builds and runs a service.
func (r *room) open(t *testing.T, spec service.Spec, env map[string]string, calls func(string) grpc.ClientConnInterface) {
	t.Helper()
	r.kit = servicetest.NewKit(t, spec)
	r.kit.Calls = calls
	r.kit.Config = config.NewReader(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	r.app = r.run(t, spec)
	server := grpc.NewServer()
	if r.app.Services != nil {
		r.app.Services(server)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(r.listener) }()
	t.Cleanup(func() { server.Stop(); <-served })
}

// run builds the service of a kit, runs it and serves its routes.
func (r *room) run(t *testing.T, spec service.Spec) service.App {
	t.Helper()
	app := spec.Build(r.kit)
	if err := r.kit.Config.Err(); err != nil {
		t.Fatal(err)
	}
	for _, w := range app.Work {
		servicetest.Run(t, w.Run)
	}
	r.public = servicetest.Serve(t, func(c chi.Router) {
		for _, routes := range []func(chi.Router){app.Routes, app.OpenRoutes} {
			if routes != nil {
				routes(c)
			}
		}
	})
	if app.OperatorRoutes != nil {
		r.operator = servicetest.Serve(t, app.OperatorRoutes)
	}
	return app
}

func (s *shop) put(r *room, path, body string) {
	s.t.Helper()
	if a := r.operator.Do(http.MethodPut, path, body); a.Status != http.StatusOK {
		s.t.Fatalf("PUT %s: %d %s", path, a.Status, a.Body)
	}
}

// reprice has TEA cost something else.
func (s *shop) reprice(amount int64) {
	s.t.Helper()
	s.put(s.price, "/v1/prices/lists/retail/prices", fmt.Sprintf(`{"prices": [{"sku": "TEA", "tiers": [{"min_quantity": 1, "amount": %d}]}]}`, amount))
}

// voucher makes a voucher, SPRING, of a tenth off, that so many orders may have.
func (s *shop) voucher(uses int) {
	s.t.Helper()
	s.put(s.price, "/v1/vouchers/SPRING", fmt.Sprintf(`{"max_uses": %d, "kind": "order_percentage", "rate": 100000, "valid_from": "2026-01-01"}`, uses))
}

// held returns how many orders have the voucher.
func (s *shop) held() (held int) {
	s.t.Helper()
	if err := s.price.kit.Pool.QueryRow(s.t.Context(), `select held + redeemed from vouchers where code = 'SPRING'`).Scan(&held); err != nil {
		s.t.Fatal(err)
	}
	return held
}

// quote has price quote two of TEA for carl, sent to Great Britain.
func (s *shop) quote(voucher string) (*price.Quote, string) {
	s.t.Helper()
	return s.quoteTo("GB", voucher)
}

// quoteTo is quote for another region, and for who is in groups.
func (s *shop) quoteTo(region, voucher string, groups ...string) (*price.Quote, string) {
	s.t.Helper()
	answer, err := s.prices.Quote(s.t.Context(), &pricev1.QuoteRequest{
		CustomerId: "carl", CartId: "cart-1", Currency: "GBP", Region: region, Groups: groups, Voucher: voucher,
		Lines: []*pricev1.Line{{Sku: "TEA", Quantity: 2}},
	})
	if err != nil || answer.GetRefusal() != nil {
		s.t.Fatalf("quote: %v, %v", answer, err)
	}
	q, err := quote.Read(answer.GetToken())
	if err != nil {
		s.t.Fatal(err)
	}
	return q, answer.GetToken()
}

// address gives a customer an address, and returns its id.
func (s *shop) address(customer string) (id string) {
	s.t.Helper()
	id = uuid.NewString()
	if a := s.customer.public.Do(http.MethodPut, "/v1/customers/"+customer+"/addresses/"+id, home); a.Status/100 != 2 {
		s.t.Fatalf("%d %s", a.Status, a.Body)
	}
	return id
}

// order orders what a quote says, to an address unless that is "".
func (s *shop) order(key, token, address string) servicetest.Answer {
	s.t.Helper()
	body := fmt.Sprintf(`{"payment_token": "tok_success", "quote": %q}`, token)
	if address != "" {
		body = fmt.Sprintf(`{"payment_token": "tok_success", "quote": %q, "address_id": %q}`, token, address)
	}
	return s.checkout.public.Do(http.MethodPost, "/v1/checkouts", body, "Idempotency-Key", key)
}
