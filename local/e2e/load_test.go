package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
)

const (
	buyers       = 16
	pace         = time.Second / 80 // between two orders of a load
	loadTimeout  = 3 * time.Minute
	settleWithin = 3 * time.Minute // of the last order
)

// either is the end of an order whose customer cancels at any moment.
const either = "either"

// kinds of order that a load is made of, by payment token, with how they end:
// "confirmed" or the reason of the cancellation.
var kinds = []struct {
	token string
	short bool // asks for what there is none of
	ends  string
}{
	{token: "tok_success", ends: "confirmed"},
	{token: "tok_success", ends: "confirmed"},
	{token: "tok_decline", ends: events.ReasonPaymentDeclined},
	{token: "tok_success", ends: "confirmed"},
	{token: "tok_success", short: true, ends: events.ReasonOutOfStock},
	{token: "tok_flaky", ends: "confirmed"},
	{token: "tok_success", ends: either},
	{token: "tok_insufficient_funds", ends: events.ReasonInsufficientFunds},
	{token: "tok_success", ends: "confirmed"},
	{token: "tok_lost_reply", ends: "confirmed"},
	{token: "tok_unheard_of", ends: events.ReasonPaymentInvalid},
	{token: "tok_rate_limited", ends: "confirmed"},
}

// load is a number of orders with how each is to end.
type load struct {
	name  string
	mu    sync.Mutex
	ends  map[uuid.UUID]string
	fault error
}

// underLoad places n orders of every kind at a steady pace and calls midway once
// a third of them is placed, while the others go on. It returns when all are, within
// loadTimeout of midway's end.
func (s *system) underLoad(t *testing.T, n int, midway func()) *load {
	t.Helper()
	l := &load{name: "load-" + newKey()[:8], ends: map[uuid.UUID]string{}}
	for i := range 4 {
		s.setStock(t, l.sku(i), map[string]int64{"leeds": int64(10 * n), "york": int64(10 * n)})
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	limit := time.AfterFunc(loadTimeout, func() { cancel(fmt.Errorf("not all orders were taken within %s", loadTimeout)) })
	defer limit.Stop()
	third, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		l.run(ctx, s, n, third)
	}()
	select {
	case <-third:
	case <-done: // too soon only if an order was refused
	}
	select {
	case <-third:
		limit.Stop() // what midway is about may take minutes
		midway()
		limit.Reset(loadTimeout)
	default:
	}
	<-done
	if l.fault != nil {
		t.Fatalf("load: %v", errors.Join(context.Cause(ctx), l.fault))
	}
	return l
}

func (l *load) sku(i int) string { return fmt.Sprintf("%s-%d", l.name, i%4) }

// run places orders as they fall due, several at once, and closes third when that
// many are placed.
func (l *load) run(ctx context.Context, s *system, n int, third chan struct{}) {
	due := make(chan int)
	go func() {
		defer close(due)
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for i := range n {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			select {
			case due <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	var placed atomic.Int64
	var all sync.WaitGroup
	for range buyers {
		all.Go(func() {
			for i := range due {
				l.buy(ctx, s, i)
				if placed.Add(1) == int64(n/3) {
					close(third)
				}
			}
		})
	}
	all.Wait()
}

// buy places one order and, if its kind wants so, cancels it.
func (l *load) buy(ctx context.Context, s *system, i int) {
	kind := kinds[i%len(kinds)]
	b := basketOf(l.sku(i), int64(1+i%3), kind.token)
	b.Lines = append(b.Lines, events.Line{SKU: l.sku(i + 1), Quantity: 2, UnitPrice: 99})
	if kind.short {
		b.Lines = append(b.Lines, events.Line{SKU: l.name + "-none", Quantity: 1, UnitPrice: 5})
	}
	id, err := s.place(ctx, b)
	ends := kind.ends
	if err == nil && ends == either {
		var cancelled bool
		if cancelled, err = s.cancel(ctx, id); cancelled {
			ends = events.ReasonCustomerRequest
		} else {
			ends = "confirmed"
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends[id] = ends
	if err != nil {
		l.fault = err
	}
}

func (l *load) ids() []uuid.UUID {
	ids := make([]uuid.UUID, 0, len(l.ends))
	for id := range l.ends {
		ids = append(ids, id)
	}
	return ids
}

// settles checks that every order of a load ends as it is to, soon, and that the
// books balance.
func (s *system) settles(t *testing.T, l *load) {
	t.Helper()
	began := time.Now()
	found := s.awaitSettled(t, settleWithin, l.ids()...)
	t.Logf("%d orders settled %s after the last was placed", len(found), time.Since(began).Round(10*time.Millisecond))
	for id, o := range found {
		if end := o.end(); end != l.ends[id] {
			t.Errorf("order %s ended %s, not %s", id, end, l.ends[id])
		}
	}
	s.balanced(t)
}

// end is "confirmed" or the reason of the cancellation.
func (o *outcome) end() string {
	if o.order == "cancelled" {
		return o.reason
	}
	return o.order
}
