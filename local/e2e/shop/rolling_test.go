package shop

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	recorded "quadrille.internal/local/release"
	"quadrille.internal/local/stack"
	"quadrille.internal/local/visit"
)

const (
	// customers order once in this time each, so that the rate is steady.
	orderEvery = time.Second
	customers  = 4
	// replaceTime is what one replica may take to end and to be ready again.
	replaceTime = 2 * time.Minute
	// atOnce is how many services are rolled at the same time, one replica of each.
	atOnce = 3
)

// The release before is replaced by today's, replica by replica, and some of it taken back,
// while customers order through the gateway. None of them notices: no answer 5xx, no
// connection that breaks, no order lost.
func TestARollingReleaseIsNotNoticed(t *testing.T) {
	startReplicas(t)
	before := releaseBefore(t)
	r := &roller{T: t, mall: openMall(t)}
	r.roll(t.Context(), before, len(sys.Apps()), before.Apps()...)
	if t.Failed() {
		return
	}
	r.pause, r.noticed = orderEvery, func(err error) { t.Errorf("a customer notices: %v", err) }

	shop := visit.NewShop(sys.HTTPURL("gateway"), visit.Mailbox{URL: sys.MailURL(), Key: sys.MailKey()})
	defer shop.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	done, failed := make(chan struct{}), make([]error, customers)
	var all sync.WaitGroup
	for i := range customers {
		all.Go(func() { failed[i] = r.visit(ctx, shop, rand.New(rand.NewPCG(7, uint64(i))), done) })
	}
	began := time.Now()
	r.roll(ctx, sys, atOnce, sys.Apps()...)
	took := time.Since(began)
	back := []string{"gateway", "checkout", "payment"}
	if soak() {
		back = before.Apps()
	}
	if !t.Failed() {
		r.roll(ctx, before, atOnce, back...)
	}
	close(done)
	all.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	r.settled(ctx, t)
	t.Logf("%d replicas replaced in %s and %v taken back; %d orders", len(sys.Instances()), took.Round(time.Second), back, len(r.bought))
	r.balanced(t)
	r.charged(t)
}

// startReplicas has a stack with replicas take the place of the tests' own until the test
// ends.
func startReplicas(t *testing.T) {
	t.Helper()
	opts := options
	opts.Dir, opts.Replicas, opts.Trace = options.Dir+"-rolling", 2, false
	switch {
	case opts.Broker == stack.OneProcess:
		t.Skip("in one process a service has no replicas")
	case opts.Broker == stack.Kafka && !soak():
		t.Skip("not run on Kafka: make soak does, with three replicas")
	case opts.Broker == stack.Kafka:
		opts.Replicas = stack.MaxReplicas
	}
	replicated, err := stack.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	single, before := sys, options
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() {
		sys, options = single, before
		if err := errors.Join(replicated.Down(ctx), single.Up(ctx)); err != nil {
			t.Fatal(err)
		}
	})
	if err := errors.Join(single.Down(ctx), replicated.Wipe(ctx), replicated.Up(ctx)); err != nil {
		t.Fatal(err)
	}
	sys, options = replicated, opts
}

// releaseBefore is the stack with the programs of the release before.
func releaseBefore(t *testing.T) *stack.Stack {
	t.Helper()
	previous, err := recorded.Previous(sys.Root)
	if err != nil {
		t.Fatal(err)
	}
	source, err := previous.Source(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	programs, err := previous.Programs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	opts := options
	opts.Root = source
	before, err := stack.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, instance := range before.Instances() {
		before.App(instance).Command = []string{filepath.Join(programs, before.App(instance).ID)}
	}
	return before
}

// roller replaces replicas while customers are in the mall.
type roller struct {
	*testing.T
	*mall
}

// roll replaces the replicas of services, each one's after the other, so many services at once.
func (r *roller) roll(ctx context.Context, by *stack.Stack, atOnce int, apps ...string) {
	r.Helper()
	places := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for _, app := range apps {
		all.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			for _, instance := range by.InstancesOf(app) {
				if r.Failed() {
					return
				}
				had := r.orders()
				if err := r.replace(ctx, instance, by); err != nil {
					r.Errorf("replace %s: %v", instance, err)
				}
				if r.noticed != nil { // there are customers: their orders meet each change
					r.awaitOrders(ctx, had+1)
				}
			}
		})
	}
	all.Wait()
}

// awaitOrders waits until customers have placed so many.
func (r *roller) awaitOrders(ctx context.Context, n int) {
	for r.orders() < n && !r.Failed() {
		select {
		case <-ctx.Done():
			r.Errorf("%d orders of %d: %v", r.orders(), n, ctx.Err())
		case <-time.After(lookEvery):
		}
	}
}

func (r *roller) replace(ctx context.Context, instance string, by *stack.Stack) error {
	ctx, cancel := context.WithTimeout(ctx, replaceTime)
	defer cancel()
	if err := sys.Replace(ctx, instance, by); err != nil {
		return err
	}
	p := sys.Process(instance)
	if p == nil {
		return errors.New("it does not run")
	}
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.PID))
	if err == nil && !slices.Contains(by.App(instance).Command, program) {
		err = fmt.Errorf("it runs %s, want %v", program, by.App(instance).Command)
	}
	return err
}
