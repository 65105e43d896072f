package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/local/stack"
)

const (
	moveRate    = 30 // orders a second
	moveTimeout = 3 * time.Minute
	fewest      = 300 // orders that show something
)

// slowest is how long an order may take, from the first attempt to place it until all
// services are done with it. A soak has the machine to itself; otherwise other tests take
// more of it than the move does.
func slowest() time.Duration {
	if soak() {
		return 5 * time.Second
	}
	return time.Minute
}

// orderFlow places orders until it is stopped, and notes how long each takes to settle.
type orderFlow struct {
	s      *system
	sku    string
	ctx    context.Context //nolint:containedctx // it ends the flow
	cancel context.CancelFunc
	placed chan struct{}  // closed when no more orders begin
	all    sync.WaitGroup // the orders that have begun; wait for placed first

	mu     sync.Mutex
	begun  map[uuid.UUID]time.Time // not yet settled
	took   map[uuid.UUID]time.Duration
	during map[uuid.UUID]string // which move
	now    string
	fault  error
}

func (s *system) startFlow(t *testing.T) *orderFlow {
	t.Helper()
	f := &orderFlow{
		s: s, sku: "flow-" + newKey()[:8], now: "before",
		begun: map[uuid.UUID]time.Time{}, took: map[uuid.UUID]time.Duration{}, during: map[uuid.UUID]string{},
	}
	s.setStock(t, f.sku, map[string]int64{"leeds": 1_000_000})
	f.ctx, f.cancel = context.WithCancel(context.WithoutCancel(t.Context()))
	f.placed = make(chan struct{})
	go func() {
		defer close(f.placed)
		tick := time.NewTicker(time.Second / moveRate)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-f.ctx.Done():
				return
			case <-tick.C:
				f.all.Go(func() { f.buy(i) })
			}
		}
	}()
	watching, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watching)
		f.watch(stop)
	}()
	t.Cleanup(func() {
		f.stopPlacing()
		close(stop)
		<-watching
	})
	return f
}

// stopPlacing ends the flow, and waits for the orders that have begun.
func (f *orderFlow) stopPlacing() {
	f.cancel()
	<-f.placed
	f.all.Wait()
}

// buy places an order that is confirmed, declined or short.
func (f *orderFlow) buy(i int) {
	b := basketOf(f.sku, 1, "tok_success")
	switch i % 5 {
	case 3:
		b.PaymentToken = "tok_decline"
	case 4:
		b.Lines[0].SKU += "-none"
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(f.ctx), 2*slowest())
	defer cancel()
	began := time.Now()
	id, err := f.s.place(ctx, b)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.fault = fmt.Errorf("during %s: %w", f.now, err)
		return
	}
	f.begun[id], f.during[id] = began, f.now
}

// watch looks which orders have settled.
func (f *orderFlow) watch(stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(100 * time.Millisecond):
		}
		f.mu.Lock()
		open := make([]uuid.UUID, 0, len(f.begun))
		for id := range f.begun {
			open = append(open, id)
		}
		f.mu.Unlock()
		found, err := f.s.books.outcomes(context.WithoutCancel(f.ctx), open)
		now := time.Now()
		f.mu.Lock()
		if err != nil {
			f.fault = err
		}
		for id, o := range found {
			if o.settled() == nil {
				f.took[id] = now.Sub(f.begun[id])
				delete(f.begun, id)
			}
		}
		f.mu.Unlock()
	}
}

func (f *orderFlow) enter(move string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = move
}

func (f *orderFlow) settled() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.took)
}

// more waits until so many more orders have settled.
func (f *orderFlow) more(t *testing.T, n int) {
	t.Helper()
	had := f.settled()
	eventually(t, settleWithin, "orders go on settling", func(context.Context) error {
		if now := f.settled(); now < had+n {
			return fmt.Errorf("%d of %d", now-had, n)
		}
		return nil
	})
}

// end stops placing once there are enough orders, waits for the last, and checks them all.
func (f *orderFlow) end(t *testing.T) {
	t.Helper()
	f.more(t, fewest-f.settled())
	f.stopPlacing()
	eventually(t, settleWithin, "all settled", func(context.Context) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.begun) > 0 {
			return fmt.Errorf("%d orders are open", len(f.begun))
		}
		return nil
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault != nil {
		t.Errorf("an order was not accepted: %v", f.fault)
	}
	longest, moves := map[string]time.Duration{}, []string{}
	for id, took := range f.took {
		move := f.during[id]
		if !slices.Contains(moves, move) {
			moves = append(moves, move)
		}
		longest[move] = max(longest[move], took)
	}
	slices.Sort(moves)
	for _, move := range moves {
		t.Logf("%-16s slowest order %s", move, longest[move].Round(time.Millisecond))
		if longest[move] > slowest() {
			t.Errorf("%s: an order took %s, want %s at most", move, longest[move], slowest())
		}
	}
	t.Logf("%d orders", len(f.took))
}

// move moves a service, and says what it does by the end.
func (s *system) move(t *testing.T, app string, to stack.Place) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), moveTimeout)
	defer cancel()
	move := s.MoveIn
	if to == stack.PlaceOutside {
		move = s.MoveOut
	}
	began := time.Now()
	moved, err := move(ctx, app)
	if err != nil || !moved {
		t.Fatalf("move %s %s: %v, %v", app, to, moved, err)
	}
	t.Logf("%s is %s after %s", app, to, time.Since(began).Round(10*time.Millisecond))
	if again, err := move(ctx, app); again || err != nil {
		t.Errorf("move %s %s once more: %v, %v", app, to, again, err)
	}
	if own := s.running(t, app).PID != s.running(t, stack.Together).PID; own != (to == stack.PlaceOutside) {
		t.Errorf("%s has a process of its own: %v", app, own)
	}
}

// nothingParked checks that no event was parked.
func (s *system) nothingParked(t *testing.T) {
	t.Helper()
	for _, app := range s.WithDatabase() {
		var parked int
		if err := s.books.pools[app].QueryRow(t.Context(), `select count(*) from parked`).Scan(&parked); err != nil {
			t.Fatal(err)
		}
		if parked > 0 {
			t.Errorf("%s has parked %d events", app, parked)
		}
	}
}

// movable skips a test where services are not in one process, and builds what they need
// outside of it.
func (s *system) movable(t *testing.T) {
	t.Helper()
	if !inOneProcess {
		t.Skip("for one process: QUADRILLE_TEST_BROKER=" + stack.OneProcess)
	}
	if err := s.BuildAll(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestMove_EachServiceOutAndInWhileOrdersFlow(t *testing.T) {
	s := sys
	s.movable(t)
	f := s.startFlow(t)
	f.more(t, 20)
	for _, app := range []string{"checkout", "inventory", "payment", "order"} {
		for _, to := range []stack.Place{stack.PlaceOutside, stack.PlaceInside} {
			f.enter(app + " " + string(to))
			s.move(t, app, to)
			f.more(t, 20)
		}
	}
	f.end(t)
	s.nothingParked(t)
	s.balanced(t)
}

// Services outside hear each other by the broker and are called by those inside, and go on
// when the one process was killed and started again.
func TestMove_WhatIsOutsideStaysOutsideOverARestart(t *testing.T) {
	s := sys
	s.movable(t)
	s.setStock(t, "outside", map[string]int64{"leeds": 100})
	outside := []string{"inventory", "payment", "order"}
	for _, app := range outside {
		s.move(t, app, stack.PlaceOutside)
	}
	s.expect(t, s.mustPlace(t, basketOf("outside", 1, "tok_success")), confirmed(250))
	s.kill(t, stack.Together)
	s.kill(t, "payment")
	if err := s.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.expect(t, s.mustPlace(t, basketOf("outside", 1, "tok_success")), confirmed(250))
	company := s.newCompany(t, 10_000_000, map[string]int64{"leeds": 5, "york": 5}, time.Hour)
	company.end(sagas{company.mustSubmit(8, 50): "completed"}) // b2b calls inventory
	// What a service cannot do outside is said before anything is done.
	if _, err := s.MoveOut(t.Context(), b2b); err == nil {
		t.Error("b2b was moved, whose workflows stay behind")
	}
	for _, app := range outside {
		s.move(t, app, stack.PlaceInside)
	}
	if p := s.Process(stack.Sidecar(stack.Together)); p != nil {
		t.Errorf("the sidecar of the one process runs on, pid %d", p.PID)
	}
	s.expect(t, s.mustPlace(t, basketOf("outside", 1, "tok_success")), confirmed(250))
	s.nothingParked(t)
	s.balanced(t)
}

// An operator's token opens the route that moves services, and nothing else does.
func TestMove_OnlyOperatorsMoveServices(t *testing.T) {
	if !inOneProcess {
		t.Skip("for one process: QUADRILLE_TEST_BROKER=" + stack.OneProcess)
	}
	for _, header := range []map[string]string{nil, sys.adminAuth("payment")} {
		if a := sys.ask(t, http.MethodGet, sys.BridgeURL()+"/services", header, nil); a.status != http.StatusUnauthorized {
			t.Errorf("with %v: %d %s", header, a.status, a.body)
		}
	}
	if _, err := sys.MoveOut(t.Context(), "paymnt"); !errors.Is(err, stack.ErrUnknownService) {
		t.Errorf("move of a service that there is not: %v", err)
	}
}
