package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// load places the orders of one run, over many connections at once.
type load struct {
	scenario Scenario
	seed     uint64
	runID    string
	shop     string // host:port of checkout
	desk     string // host:port of the order service, which takes cancellations

	began time.Time
	// placed has the times of order i at index i. A connection writes its own
	// orders only, and all are read once the load has ended.
	placed []placing
	next   atomic.Int64
	gate   *gate

	accepted, shed, given, lost atomic.Int64
	wishes                      chan wish
	decided, cancelled, tooLate atomic.Int64
	failure                     atomic.Pointer[error] // the first that is not overload
}

// placing is when, since the load began, an order was to be placed, when it was
// accepted and when a decision on it was sent; 0 is never.
type placing struct{ intended, answered, decided time.Duration }

// wish is for something to be done about order i: to be cancelled, or approved.
type wish struct {
	i  int
	id string
}

const (
	// buyerPatience bounds how long a buyer who is told to come back later does.
	buyerPatience = time.Minute
	// cancelPatience bounds how long an order may take to reach the order service.
	cancelPatience = 5 * time.Second
	clerks         = 8 // connections for wishes
	attempts       = 3 // after a broken connection
)

func newLoad(s Scenario, seed uint64, runID, shop, desk string) *load {
	return &load{
		scenario: s, seed: seed, runID: runID, shop: shop, desk: desk,
		placed: make([]placing, s.total()),
		gate:   newGate(s.InFlight, s.total()),
		wishes: make(chan wish, s.total()),
	}
}

// run places every order and returns once all are answered.
func (l *load) run(ctx context.Context) error {
	l.began = time.Now()
	buying, bctx := errgroup.WithContext(ctx)
	for range min(l.scenario.Connections, l.scenario.total()) {
		buying.Go(func() error { return l.buy(bctx) })
	}
	var granting sync.WaitGroup
	for range clerks {
		granting.Go(func() { l.grantAll(ctx) })
	}
	err := buying.Wait()
	if err == nil && l.scenario.trade.approvals {
		err = l.awaitDecisions(ctx)
	}
	close(l.wishes)
	granting.Wait()
	return err
}

// buy places order after order over one connection.
func (l *load) buy(ctx context.Context) error {
	w := newWire(l.shop)
	defer w.close()
	a := newAuthor(l.scenario, l.seed, l.runID, l.shop)
	for {
		i, more := l.take(ctx)
		if !more {
			return ctx.Err()
		}
		// Written beforehand, so that its cost is no part of the answer's time.
		request, fate := a.write(i)
		if err := l.await(ctx, i); err != nil {
			return err
		}
		id, err := l.place(ctx, w, request)
		if err != nil {
			return err
		}
		if id == "" {
			l.given.Add(1)
			continue
		}
		l.placed[i].answered = time.Since(l.began)
		l.accepted.Add(1)
		if fate == cancelled {
			l.wishes <- wish{i, id}
		}
	}
}

// take returns the number of the next order, once there is room in flight for it.
func (l *load) take(ctx context.Context) (i int, more bool) {
	if l.scenario.closed() && !l.gate.enter(ctx) {
		return 0, false
	}
	i = int(l.next.Add(1) - 1)
	if i == len(l.placed)-1 {
		l.gate.close() // what still waits has nothing to wait for
	}
	return i, i < len(l.placed)
}

// await returns when order i must be placed, and notes that time. In an open
// loop it is the schedule's, however late this connection got around to it: that
// is what keeps a stall from hiding itself.
func (l *load) await(ctx context.Context, i int) error {
	switch {
	case l.scenario.Burst: // all at the start
	case l.scenario.Rate > 0:
		l.placed[i].intended = l.scenario.intended(i)
		return sleep(ctx, l.placed[i].intended-time.Since(l.began))
	default:
		l.placed[i].intended = time.Since(l.began)
	}
	return nil
}

// place sends a request until it is accepted, and returns the order's id; none
// when the buyer's patience ended. The idempotency key makes repeating it safe.
func (l *load) place(ctx context.Context, w *wire, request []byte) (id string, err error) {
	until := time.Now().Add(buyerPatience)
	for broken := 0; time.Now().Before(until); {
		a, err := w.do(ctx, request)
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case err != nil:
			l.lost.Add(1)
			if broken++; broken == attempts {
				return "", fmt.Errorf("place an order: %w", err)
			}
		case a.status == http.StatusAccepted:
			return orderID(a.body)
		case a.status == http.StatusServiceUnavailable && a.retryAfter > 0:
			l.shed.Add(1)
			if err := sleep(ctx, a.retryAfter); err != nil {
				return "", err
			}
		default:
			return "", fmt.Errorf("place an order: status %d: %s", a.status, a.body)
		}
	}
	return "", nil
}

var errNoID = errors.New("the answer to an order does not begin with its id")

// orderID takes the id from where the receipt has it.
func orderID(receipt []byte) (string, error) {
	const head, length = len(`{"id":"`), 36
	if len(receipt) < head+length {
		return "", errNoID
	}
	return string(receipt[head : head+length]), nil
}

// grantAll grants wishes as they come. A customer's is to cancel as soon as they
// can: right after the order was accepted.
func (l *load) grantAll(ctx context.Context) {
	w := newWire(l.desk)
	defer w.close()
	for wish := range l.wishes {
		var err error
		if l.scenario.trade.approvals {
			err = l.approve(ctx, w, wish)
		} else {
			err = l.cancel(ctx, w, wish.id)
		}
		if err != nil {
			l.failure.CompareAndSwap(nil, &err)
		}
	}
}

func (l *load) cancel(ctx context.Context, w *wire, id string) error {
	request := plainRequest(http.MethodPost, l.desk, "/v1/orders/"+id+"/cancel", "")
	for until := time.Now().Add(cancelPatience); time.Now().Before(until); {
		a, err := w.do(ctx, request)
		switch {
		case err != nil:
			return fmt.Errorf("cancel an order: %w", err)
		case a.status == http.StatusOK:
			l.cancelled.Add(1)
			return nil
		case a.status == http.StatusConflict:
			l.tooLate.Add(1)
			return nil
		case a.status != http.StatusNotFound && a.status != http.StatusServiceUnavailable:
			return fmt.Errorf("cancel an order: status %d: %s", a.status, a.body)
		}
		const again = 10 * time.Millisecond
		if err := sleep(ctx, again); err != nil {
			return err
		}
	}
	return fmt.Errorf("cancel order %s: the order service had not heard of it after %s", id, cancelPatience)
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A gate lets as many orders through as have been settled, and so many more.
// Each that may enter wakes one connection, not all.
type gate struct {
	passes chan struct{}
	closed chan struct{}
	issued int // passes so far; for the one who follows the run
	most   int
}

func newGate(inFlight, orders int) *gate {
	g := &gate{passes: make(chan struct{}, orders), closed: make(chan struct{}), most: inFlight}
	g.settled(0)
	return g
}

// enter waits for a pass; there is none once the gate is closed.
func (g *gate) enter(ctx context.Context) bool {
	select {
	case <-g.passes:
		return true
	case <-g.closed:
		return false
	case <-ctx.Done():
		return false
	}
}

// settled says how many orders are out of flight. It never takes a pass back.
func (g *gate) settled(n int) {
	for ; g.issued < min(n+g.most, cap(g.passes)); g.issued++ {
		g.passes <- struct{}{}
	}
}

func (g *gate) close() { close(g.closed) }
