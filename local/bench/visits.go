package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/local/stack"
	"quadrille.internal/local/visit"
)

// Visits says how customers visit the shop through the gateway: each visit is eight
// requests, by somebody who signed in before.
type Visits struct {
	Stack *stack.Stack
	// Rate is how many begin each second, whatever becomes of them; Visits how many there are.
	Rate   float64
	Visits int
	// Customers are signed in before; each makes one visit at a time.
	Customers int
	// Goods are on sale.
	Goods []visit.Product
	Live  func(string)
}

// VisitsResult is what came of visits.
type VisitsResult struct {
	Visits    int     `json:"visits"`
	Failed    int     `json:"failed"`
	PerSecond float64 `json:"visits_per_second"`
	// HTTP is of all requests, by their method and path; "" of all.
	HTTP map[string]Quantiles `json:"http_ms"`
	// Whole visits, from when they were to begin.
	Whole         Quantiles          `json:"visit_ms"`
	CPUMSPerVisit float64            `json:"cpu_ms_per_visit"`
	CPUShare      float64            `json:"cpu_share"`
	CPUSeconds    map[string]float64 `json:"cpu_seconds"`
	ResidentMB    map[string]float64 `json:"resident_mb"`
	// Failures are the first of each kind.
	Failures []string `json:"failures,omitempty"`
}

// crowd is the customers of a run.
type crowd struct {
	Visits
	shop *visit.Shop
	idle chan *shopper

	mu       sync.Mutex
	http     map[string][]time.Duration
	whole    []time.Duration
	failures map[string]int
}

type shopper struct {
	*visit.Customer
	address uuid.UUID
	cart    uuid.UUID
}

// Run lets the customers in, and returns when the last visit has ended.
func (v Visits) Run(ctx context.Context) (*VisitsResult, error) {
	c := &crowd{Visits: v, shop: visit.NewShop(v.Stack.HTTPURL("gateway"), visit.Mailbox{URL: v.Stack.MailURL(), Key: v.Stack.MailKey()}), idle: make(chan *shopper, v.Customers), http: map[string][]time.Duration{}, failures: map[string]int{}}
	defer c.shop.Close()
	c.shop.Observe(c.observe)
	if err := c.signUp(ctx); err != nil {
		return nil, err
	}
	c.http = map[string][]time.Duration{}
	watched := newCensus(v.processes(ctx))
	before, err := watched.take()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	c.open(ctx, began)
	took := time.Since(began)
	after, err := watched.take()
	if err != nil {
		return nil, err
	}
	return c.result(before, after, took), ctx.Err()
}

// processes are those of the stack, each once: services may share one.
func (v Visits) processes(ctx context.Context) map[string]int {
	pids, names := map[string]int{}, map[int]string{}
	for _, part := range v.Stack.Status(ctx) {
		if part.PID == 0 {
			continue
		}
		if other, shared := names[part.PID]; shared {
			delete(pids, other)
			part.Part = stack.Together
		}
		names[part.PID] = part.Part
		pids[part.Part] = part.PID
	}
	return pids
}

func (c *crowd) observe(r *http.Request, took time.Duration) {
	path, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/"), "/")
	if strings.HasSuffix(r.URL.Path, "/quote") {
		path = "quote"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range []string{"", r.Method + " " + path} {
		c.http[name] = append(c.http[name], took)
	}
}

// signUp has the customers ready. Passwords are dear to hash, so few do so at a time.
func (c *crowd) signUp(ctx context.Context) error {
	slots, failed := make(chan struct{}, 2), make(chan error, c.Customers)
	for n := range c.Customers {
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			s, err := c.newShopper(ctx, n)
			if err == nil {
				c.idle <- s
			}
			failed <- err
		}()
	}
	var errs []error
	for range c.Customers {
		errs = append(errs, <-failed)
	}
	return errors.Join(errs...)
}

// newShopper signs the customer with a number in, each from an address of its own.
func (c *crowd) newShopper(ctx context.Context, n int) (*shopper, error) {
	email := uuid.NewString() + "@example.com"
	home := c.shop.From(fmt.Sprintf("198.18.%d.%d", n/250%250, 1+n%250)) // RFC 2544: for measurements
	customer, err := home.SignUp(ctx, email, "a long password "+email)
	if err != nil {
		return nil, err
	}
	address, err := customer.Live(ctx, visit.Home)
	if err != nil {
		return nil, err
	}
	cart, err := customer.Cart(ctx)
	return &shopper{customer, address, cart.ID}, err
}

// open begins visits on schedule.
func (c *crowd) open(ctx context.Context, began time.Time) {
	var all sync.WaitGroup
	for n := range c.Visits.Visits {
		start := began.Add(time.Duration(float64(n) / c.Rate * float64(time.Second)))
		if sleep(ctx, time.Until(start)) != nil {
			break
		}
		all.Go(func() { c.visit(ctx, start, rand.New(rand.NewPCG(1, uint64(n)))) }) //nolint:gosec // it has to repeat itself
		if n%int(c.Rate+1) == 0 {
			c.Live(fmt.Sprintf("visits: %d of %d began", n, c.Visits.Visits))
		}
	}
	all.Wait()
}

func (c *crowd) visit(ctx context.Context, start time.Time, rng *rand.Rand) {
	var s *shopper
	select {
	case s = <-c.idle:
	case <-ctx.Done():
		return
	}
	defer func() { c.idle <- s }()
	err := c.walk(ctx, s, rng)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.whole = append(c.whole, time.Since(start)); err != nil {
		c.failures[err.Error()]++
	}
}

// walk is eight requests: two searches, a price, two lines, a quote, the order, a look at it.
func (c *crowd) walk(ctx context.Context, s *shopper, rng *rand.Rand) error {
	one, other := c.Goods[rng.IntN(len(c.Goods))], c.Goods[rng.IntN(len(c.Goods))]
	for _, p := range []visit.Product{one, other} {
		if _, err := s.Search(ctx, p.Title); err != nil {
			return err
		}
	}
	if err := s.Price(ctx, one.SKU); err != nil {
		return err
	}
	// The cart may still hold what an order before has not settled: more is put to it.
	for _, p := range []visit.Product{one, other} {
		if err := s.Put(ctx, s.cart, p.SKU, 1+rng.Int64N(50)); err != nil {
			return err
		}
	}
	quote, err := s.Quote(ctx, s.cart, "")
	if problem, ok := errors.AsType[*visit.Problem](err); ok && problem.Code == "nothing_to_order" {
		return nil
	}
	if err != nil {
		return err
	}
	order, err := s.Order(ctx, uuid.NewString(), quote.Token, "tok_success", s.address)
	if err != nil {
		return err
	}
	return s.Look(ctx, order.ID)
}

func (c *crowd) result(before, after map[string]usage, took time.Duration) *VisitsResult {
	r := &VisitsResult{
		Visits: len(c.whole), PerSecond: float64(len(c.whole)) / took.Seconds(), HTTP: map[string]Quantiles{}, Whole: quantiles(c.whole),
		CPUSeconds: map[string]float64{}, ResidentMB: map[string]float64{},
	}
	for name, list := range c.http {
		r.HTTP[name] = quantiles(list)
	}
	var cpu time.Duration
	for part, u := range after {
		used := u.cpu - before[part].cpu
		cpu += used
		r.CPUSeconds[part], r.ResidentMB[part] = used.Seconds(), float64(u.resident)/(1<<20)
	}
	r.CPUMSPerVisit = per(milliseconds(cpu), float64(r.Visits))
	r.CPUShare = cpu.Seconds() / took.Seconds() / float64(runtime.NumCPU())
	for text, n := range c.failures {
		r.Failed += n
		r.Failures = append(r.Failures, fmt.Sprintf("%d times: %s", n, text))
	}
	return r
}
