package shop

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/local/visit"
	"quadrille.internal/quad/api"
	"quadrille.internal/quad/command"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/verify"
)

const (
	visitors = 6
	products = 8
	enough   = 1_000_000
	// repriceEvery is how often something costs something else.
	repriceEvery = 300 * time.Millisecond
	// settleTime is how long what was ordered may take once nothing is killed any more.
	settleTime = 5 * time.Minute
	lookEvery  = 100 * time.Millisecond
	// What is killed and changed at least, or it proves little.
	fewestKills, fewestChanges = 2, 2
)

// mall is a shop whose parts are killed.
type mall struct {
	*installation.Installation
	operator *visit.Operator
	goods    []visit.Product
	voucher  string

	// noticed is told of what a customer notices of the work on the shop; nil is nobody.
	noticed func(error)
	// pause lies between two orders of a customer.
	pause time.Duration
	// repriced says that prices change meanwhile: an order may cost less than its quote.
	repriced bool

	mu     sync.Mutex
	bought []purchase
}

// purchase is an order, and what checkout said that it costs.
type purchase struct {
	by    *visit.Customer
	order uuid.UUID
	total int64
}

func openMall(t *testing.T) *mall {
	t.Helper()
	r := installation.Open(installation.Local, sys.Context(), installation.Options{RetryFor: time.Minute})
	t.Cleanup(r.Close)
	operator, err := visit.OperatorOf(r)
	if err != nil {
		t.Fatal(err)
	}
	m := &mall{Installation: r, operator: operator, voucher: "TENTH-" + uuid.NewString()[:8]}
	steps := []error{m.operator.Open(t.Context()), m.operator.Voucher(t.Context(), m.voucher, enough)}
	for i := range products {
		p := visit.Product{SKU: fmt.Sprintf("SKU-%d-%s", i, uuid.NewString()[:8]), Title: fmt.Sprintf("Thing %d", i), Price: int64(100 + 37*i)}
		_, err := r.Client.ForceStock(t.Context(), p.SKU, []api.Count{{Warehouse: "leeds", OnHand: enough}})
		steps = append(steps, m.operator.Sell(t.Context(), p), err)
		m.goods = append(m.goods, p)
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	return m
}

// until repeats a step of a visit while parts of the system are away. What the shop refuses
// for good is an error.
func until[T any](ctx context.Context, m *mall, step func() (T, error)) (T, error) {
	for {
		v, err := step()
		problem, no := errors.AsType[*visit.Problem](err)
		if err == nil || no && problem.Status < 500 && problem.Status != 429 {
			return v, err
		}
		if m.noticed != nil && (!no || problem.Status >= 500) {
			m.noticed(err)
		}
		select {
		case <-ctx.Done():
			return v, errors.Join(ctx.Err(), err)
		case <-time.After(lookEvery):
		}
	}
}

// visit has one customer buy again and again until done.
func (m *mall) visit(ctx context.Context, shop *visit.Shop, rng *rand.Rand, done <-chan struct{}) error {
	email := uuid.NewString() + "@example.com"
	customer, err := until(ctx, m, func() (*visit.Customer, error) { return shop.SignUp(ctx, email, "a long password "+email) })
	if err != nil {
		return err
	}
	address, err := until(ctx, m, func() (uuid.UUID, error) { return customer.Live(ctx, visit.Home) })
	if err != nil {
		return err
	}
	for {
		select {
		case <-done:
			return nil
		default:
		}
		if err := m.buy(ctx, customer, address, rng); err != nil {
			return err
		}
		select {
		case <-done:
			return nil
		case <-time.After(m.pause):
		}
	}
}

// buy fills the cart, has it quoted and orders it.
func (m *mall) buy(ctx context.Context, customer *visit.Customer, address uuid.UUID, rng *rand.Rand) error {
	cart, err := until(ctx, m, func() (visit.Cart, error) { return customer.Cart(ctx) })
	if err != nil {
		return err
	}
	ordering := map[string]int64{} // what earlier orders have not settled yet
	for _, l := range cart.Lines {
		ordering[l.SKU] = l.Ordering
	}
	for range 1 + rng.IntN(3) {
		sku := m.goods[rng.IntN(len(m.goods))].SKU
		quantity := ordering[sku] + 1 + rng.Int64N(4)
		if _, err := until(ctx, m, func() (struct{}, error) { return struct{}{}, customer.Put(ctx, cart.ID, sku, quantity) }); err != nil {
			return err
		}
	}
	voucher := ""
	if rng.IntN(3) == 0 {
		voucher = m.voucher
	}
	quote, err := until(ctx, m, func() (visit.Quote, error) { return customer.Quote(ctx, cart.ID, voucher) })
	if problem, ok := errors.AsType[*visit.Problem](err); ok && problem.Code == "nothing_to_order" {
		return nil // an order took it meanwhile
	}
	if err != nil {
		return err
	}
	key := uuid.NewString()
	order, err := until(ctx, m, func() (visit.Order, error) { return customer.Order(ctx, key, quote.Token, "tok_success", address) })
	if err != nil {
		return err
	}
	if order.Total.Amount > quote.Price.Total || order.Total.Amount < quote.Price.Total && !m.repriced {
		return fmt.Errorf("order %s costs %d, and its quote said %d", order.ID, order.Total.Amount, quote.Price.Total)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bought = append(m.bought, purchase{customer, order.ID, order.Total.Amount})
	return nil
}

// orders is how many were placed.
func (m *mall) orders() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.bought)
}

// kill kills services and sidecars for a time, each of which is started again.
func kill(ctx context.Context, t *testing.T, rng *rand.Rand, lasts time.Duration) (killed []string) {
	t.Helper()
	for end := time.Now().Add(lasts); (time.Now().Before(end) || len(killed) < fewestKills) && !t.Failed(); {
		time.Sleep(time.Second + rand.N(2*time.Second)) //nolint:forbidigo // kills come at any time
		parts := sys.ServiceProcesses()
		part := parts[rng.IntN(len(parts))]
		if p := sys.Process(part); p != nil {
			if err := p.Kill(ctx); err != nil {
				t.Errorf("kill %s: %v", part, err)
			}
			killed = append(killed, part)
		}
		if err := sys.Up(ctx); err != nil {
			t.Errorf("start %s again: %v", part, err)
		}
	}
	return killed
}

// reprice has one thing after the other cost something else, more or less, until done, and
// counts how often.
func (m *mall) reprice(ctx context.Context, rng *rand.Rand, changes *atomic.Int64, done <-chan struct{}) error {
	for ; ; changes.Add(1) {
		select {
		case <-done:
			return nil
		case <-time.After(repriceEvery):
		}
		sku, amount := m.goods[rng.IntN(len(m.goods))].SKU, 50+rng.Int64N(400)
		if _, err := until(ctx, m, func() (struct{}, error) { return struct{}{}, m.operator.Reprice(ctx, sku, amount) }); err != nil {
			return err
		}
	}
}

// While customers visit and prices change, any service or sidecar is killed. Nothing is lost,
// nobody pays more than the quote says, each total is that of the price book as it was, and
// the books balance.
func TestVisitsWhilePartsAreKilled(t *testing.T) {
	lasts := 15 * time.Second
	if soak() {
		lasts = 5 * time.Minute
	}
	seed := uint64(rand.Uint32())
	t.Logf("seed %d", seed)
	m := openMall(t)
	m.repriced = true
	shop := visit.NewShop(sys.HTTPURL("gateway"), visit.Mailbox{URL: sys.MailURL(), Key: sys.MailKey()})
	defer shop.Close()
	ctx, cancel := context.WithTimeout(t.Context(), lasts+settleTime)
	defer cancel()
	done, failed := make(chan struct{}), make([]error, visitors+1)
	var all sync.WaitGroup
	for i := range visitors {
		all.Go(func() {
			if failed[i] = m.visit(ctx, shop, rand.New(rand.NewPCG(seed, uint64(i+1))), done); failed[i] != nil {
				cancel() // nobody waits for its orders
			}
		})
	}
	var changes atomic.Int64
	all.Go(func() {
		if failed[visitors] = m.reprice(ctx, rand.New(rand.NewPCG(seed, visitors+1)), &changes, done); failed[visitors] != nil {
			cancel()
		}
	})
	killed := kill(ctx, t, rand.New(rand.NewPCG(seed, 0)), lasts)
	for ctx.Err() == nil && (m.orders() < visitors || changes.Load() < fewestChanges) {
		<-time.After(lookEvery)
	}
	close(done)
	all.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	m.settled(ctx, t)
	t.Logf("%d orders, %d changes of prices; killed %v", len(m.bought), changes.Load(), killed)
	m.balanced(t)
	m.charged(t)
}

// settled waits until all that was ordered is confirmed.
func (m *mall) settled(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, p := range m.bought {
		status, err := until(ctx, m, func() (string, error) { return p.by.Settled(ctx, p.order) })
		if err != nil || status != "confirmed" {
			t.Errorf("order %s is %q, %v, want it confirmed", p.order, status, err)
		}
	}
}

// balanced proves the books of all services, which have settleTime for it: what a killed one was
// given comes again, to one that is started on a busy machine.
func (m *mall) balanced(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(settleTime); ; <-time.After(lookEvery) {
		last, ok := m.books(t.Context())
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the books do not balance: %s", last)
		}
	}
}

// books says what the books of all services show, and whether they are at rest and balance.
func (m *mall) books(ctx context.Context) (report string, ok bool) {
	src, err := command.VerifySources(ctx, m.Installation)
	if err != nil {
		return err.Error(), false
	}
	src.Settle = 15 * time.Second
	found, err := verify.Run(ctx, src)
	if err != nil {
		return err.Error(), false // connections that a killed server has left
	}
	return found.String(), found.Quiet && found.OK()
}

// charged holds what the provider took against the quotes.
func (m *mall) charged(t *testing.T) {
	t.Helper()
	ledger, err := m.Ledger()
	if err != nil {
		t.Fatal(err)
	}
	charges, err := ledger.Charges(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	taken := map[string]int64{}
	for _, c := range charges {
		taken[c.Metadata.OrderID] += c.Amount
	}
	for _, p := range m.bought {
		if taken[p.order.String()] != p.total {
			t.Errorf("order %s: %d were charged, and checkout said %d", p.order, taken[p.order.String()], p.total)
		}
	}
}
