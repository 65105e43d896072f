package e2e

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"quadrille.internal/local/stack"
)

// killable are the parts that a saga needs, with how often each is killed beside the
// others. The scheduler is spared most: it comes back only once its predecessor's
// lease of 20 s is over.
var killable = killableParts()

func killableParts() map[string]float64 {
	if inOneProcess { // b2b is in it, as all services are
		return map[string]float64{b2b: 10, "erp": 2, "psp": 2, "postgres": 1}
	}
	broker := "redis"
	if onKafka {
		broker = "kafka"
	}
	return map[string]float64{
		b2b: 10, stack.Sidecar(b2b): 10, "placement": 4, "scheduler": 2, "sentry": 2,
		"inventory": 2, stack.Sidecar("inventory"): 2, "erp": 2, broker: 1, "postgres": 1,
	}
}

const (
	lookEvery  = 100 * time.Millisecond
	longestGap = 4 // times the usual gap between two strikes
)

// chaos kills parts while somebody else starts them again.
type chaos struct {
	*system
	t      *testing.T
	rng    *rand.Rand
	gap    time.Duration // between two strikes, on average
	killed map[string]int
}

func (s *system) newChaos(t *testing.T, seed uint64, gap time.Duration) *chaos {
	t.Helper()
	return &chaos{system: s, t: t, rng: rand.New(rand.NewPCG(seed, 0)), gap: gap, killed: map[string]int{}}
}

// kills is how many parts have been killed so far.
func (c *chaos) kills() (sum int) {
	for _, n := range c.killed {
		sum += n
	}
	return sum
}

// until strikes at random moments until so many have been killed, or the test has
// failed. After each strike it calls struck.
func (c *chaos) until(kills int, struck func()) {
	for c.kills() < kills && !c.t.Failed() {
		<-time.After(time.Duration(min(c.rng.ExpFloat64(), longestGap) * float64(c.gap)))
		c.strike(kills - c.kills())
		struck()
	}
}

// strike kills one part, or at times several at once, also one that is only
// starting. One that is dead anyway does not count.
func (c *chaos) strike(most int) {
	var all sync.WaitGroup
	for _, victim := range c.victims()[:min(most, c.number())] {
		p := c.Process(victim)
		if p == nil {
			continue
		}
		c.killed[victim]++
		all.Go(func() {
			if err := p.Kill(context.WithoutCancel(c.t.Context())); err != nil {
				c.t.Error(err)
			}
		})
	}
	all.Wait()
}

func (c *chaos) number() int {
	switch luck := c.rng.Float64(); {
	case luck < 0.60:
		return 1
	case luck < 0.85:
		return 2
	case luck < 0.95:
		return 3
	default:
		return 4
	}
}

// victims are the killable parts in a random order, in which the heavier ones tend to
// come first (Efraimidis and Spirakis, weighted sampling without replacement).
func (c *chaos) victims() []string {
	parts := make([]string, 0, len(killable))
	for part := range killable {
		parts = append(parts, part)
	}
	slices.Sort(parts) // a map's order would not repeat by seed
	key := map[string]float64{}
	for _, part := range parts {
		key[part] = c.rng.ExpFloat64() / killable[part]
	}
	slices.SortFunc(parts, func(a, b string) int { return cmp.Compare(key[a], key[b]) })
	return parts
}

func (c *chaos) String() string {
	var list []string
	for part, n := range c.killed {
		list = append(list, fmt.Sprintf("%s %d", part, n))
	}
	slices.Sort(list)
	return fmt.Sprintf("%d kills (%s)", c.kills(), strings.Join(list, ", "))
}

// keepAlive starts killable again as soon as they are found dead, each by itself,
// until the returned function is called.
func (s *system) keepAlive(t *testing.T) (stop func()) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	stopped := make(chan struct{})
	var all sync.WaitGroup
	for part := range killable {
		all.Go(func() {
			tick := time.NewTicker(lookEvery)
			defer tick.Stop()
			for {
				select {
				case <-stopped:
					return
				case <-tick.C:
					// One that was killed while starting is started again; revive
					// tells of one that cannot be.
					_ = s.restart(ctx, part)
				}
			}
		})
	}
	return func() { close(stopped); all.Wait() }
}

// restart starts a part unless it runs.
func (s *system) restart(ctx context.Context, part string) error {
	if s.Process(part) != nil {
		return nil
	}
	for _, app := range s.Apps() {
		switch part {
		case app:
			return s.StartApp(ctx, app)
		case stack.Sidecar(app):
			return s.StartSidecar(ctx, app)
		}
	}
	return s.StartServer(ctx, part)
}
