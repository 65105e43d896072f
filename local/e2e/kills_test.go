package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

const (
	hastyExpiry = 4 * time.Second
	// patience is how long a saga may take while parts are killed all the time, once
	// people have done with it.
	patience = 3 * time.Minute
	// enough units and credit for any number of orders.
	enough = 1_000_000_000
)

// Orders flow all the time, some people decide on and some they leave alone, while
// parts are killed at random moments, one or several at once. QUADRILLE_SEED repeats
// who does what and who is killed, though not the moment: that is the machine's.
func TestB2B_SagasUnderRandomKills(t *testing.T) {
	s, kills, gap := sys, setting("QUADRILLE_KILLS", 12), 2*time.Second
	if soak() {
		kills, gap = setting("QUADRILLE_KILLS", 500), 8*time.Second
	}
	seed := uint64(setting("QUADRILLE_SEED", int(rand.Uint32())))
	t.Logf("QUADRILLE_SEED=%d QUADRILLE_KILLS=%d", seed, kills)

	f := s.newFlow(t, seed)
	killer, stop := s.newChaos(t, seed, gap), s.keepAlive(t)
	f.begin()
	killer.until(kills, func() { t.Logf("%s; %s", killer, f) })
	f.finish()
	stop()
	s.revive(t)
	if t.Failed() {
		t.Logf("quad b2b stuck: %s", s.ask(t, "GET", s.AdminURL(b2b)+"/v1/b2b/stuck", s.adminAuth(b2b), nil).body)
		return
	}
	f.end(f.ends)
	t.Logf("%s; %s", killer, f)
}

// flow is a bounded number of customers, each of whom orders again when its order
// has ended.
type flow struct {
	*company
	hasty     *company
	customers int
	seed      uint64
	done      chan struct{} // closed when nobody is to order any more
	all       sync.WaitGroup

	mu      sync.Mutex
	ends    sagas
	slowest time.Duration // of a saga, once people have done with it
}

const (
	customers = 24
	atLeast   = 5 // orders of a customer
)

func (s *system) newFlow(t *testing.T, seed uint64) *flow {
	t.Helper()
	return &flow{
		company:   s.newCompany(t, enough*largePrice, map[string]int64{"leeds": enough, "york": enough}, time.Hour),
		hasty:     s.newCompany(t, enough*largePrice, map[string]int64{"leeds": enough}, hastyExpiry),
		customers: customers, seed: seed, done: make(chan struct{}), ends: sagas{},
	}
}

func (f *flow) begin() {
	for i := range f.customers {
		f.all.Go(func() { f.order(rand.New(rand.NewPCG(f.seed, uint64(i+1)))) })
	}
}

// finish waits until all orders have ended.
func (f *flow) finish() {
	close(f.done)
	f.all.Wait()
}

// order places orders, one after the other.
func (f *flow) order(rng *rand.Rand) {
	for n := 0; n < atLeast || !f.closed(); n++ {
		fate := fates[rng.IntN(len(fates))]
		id, err := f.live(fate, rng)
		if err != nil {
			f.t.Errorf("QUADRILLE_SEED=%d: order %s, which %s: %v", f.seed, id, fate.name, err)
		}
		if f.t.Failed() {
			return
		}
		within(rng, 2*time.Second)
	}
}

func (f *flow) closed() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// live places an order, has people do what they do about it, and sees to it that
// it ends so.
func (f *flow) live(fate fate, rng *rand.Rand) (uuid.UUID, error) {
	ctx := f.t.Context()
	c := f.company
	if fate.hasty {
		c = f.hasty
	}
	id, err := c.submit(ctx, 1, fate.price)
	if err != nil {
		return id, err
	}
	ends, err := fate.act(ctx, c, id, rng)
	if err != nil {
		return id, err
	}
	began := time.Now()
	if err := c.awaitEnd(ctx, id, ends); err != nil {
		return id, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ends[id], f.slowest = ends, max(f.slowest, time.Since(began))
	return id, nil
}

// awaitEnd waits until an order has ended, as it is to.
func (c *company) awaitEnd(ctx context.Context, id uuid.UUID, ends string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var status, steps string
	var ended bool
	for {
		err := c.books.pools[b2b].QueryRow(ctx,
			`select status, ended_at is not null, coalesce(steps::text, '') from orders where id = $1`, id).Scan(&status, &ended, &steps)
		switch {
		case err == nil && ended && status != ends:
			return fmt.Errorf("ended %s, not %s: %s", status, ends, steps)
		case err == nil && ended:
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("is %s, not %s, after %s: %s", status, ends, patience, steps)
		case <-tick.C:
		}
	}
}

func (f *flow) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprintf("%d sagas ended as decided, the slowest after %s", len(f.ends), f.slowest.Round(10*time.Millisecond))
}
