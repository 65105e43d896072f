package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	recorded "quadrille.internal/local/release"
	"quadrille.internal/local/stack"
)

// The release before runs on one stack with today's services, on today's schema, while
// customers and companies order all the time: beside them, in the place of each, and
// replaced by them one after the other. Orders wait for approval over each change.
// Nothing parks, nothing answers 500, every order ends as it should.
func TestReleases_TheReleaseBeforeRunsWithTodays(t *testing.T) {
	r := newReleases(t)
	rounds := 1
	if soak() {
		rounds = setting("QUADRILLE_SOAK", 1)
	}
	r.traffic.begin()
	r.deals.begin()
	for range rounds {
		t.Run("two replicas of each service, one of either release", r.side)
		for i, app := range r.before.Apps() {
			t.Run(app+" alone is of the release before", func(t *testing.T) { r.alone(t, app, r.before.Apps()[:i]) })
		}
		t.Run("all are of the release before, and replaced one by one", r.roll)
		if t.Failed() {
			break
		}
	}
	if t.Failed() {
		r.replaceAll(t, sys.Stack) // or customers would wait for a service that did not start
	}
	r.traffic.finish()
	r.deals.finish()
	if t.Failed() {
		return
	}
	r.settles(t, r.traffic.load)
	r.deals.end(r.deals.ends)
	t.Logf("%d orders settled; %s; answers %v", len(r.traffic.load.ends), r.deals, r.answers)
}

// releases are today's services with those of the release before.
type releases struct {
	*system
	before  *stack.Stack // the same processes, as the release before starts them
	deals   *flow        // of companies
	traffic *traffic
	answers *answers
}

func newReleases(t *testing.T) *releases {
	t.Helper()
	before := releaseBefore(t, stack.Options{Dir: sys.Dir, PortShift: portShift, Broker: stack.Redis})
	r := &releases{system: sys, before: before, answers: watchAnswers(t, sys)}
	t.Cleanup(func() {
		r.replaceAll(t, sys.Stack)
		r.revive(t)
	})
	r.deals = sys.newFlow(t, uint64(setting("QUADRILLE_SEED", 1)))
	r.deals.customers = 8 // one machine holds ten sidecars meanwhile
	r.traffic = newTraffic(t, sys)
	return r
}

// releaseBefore is a stack as the release before starts it.
func releaseBefore(t *testing.T, opts stack.Options) *stack.Stack {
	t.Helper()
	previous, err := recorded.Previous(sys.Root)
	if err != nil {
		t.Fatal(err)
	}
	if opts.Root, err = previous.Source(t.Context()); err != nil {
		t.Fatal(err)
	}
	programs, err := previous.Programs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before, err := stack.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, app := range before.Apps() {
		before.App(app).Command = []string{filepath.Join(programs, app)}
	}
	return before
}

// side starts a second replica of each service, of the release before.
func (r *releases) side(t *testing.T) {
	const raise = 50
	var twins []*exec.Cmd
	for _, app := range r.before.Apps() {
		sidecar, service := r.twin(t, stack.Sidecar(app), raise), r.twin(t, app, raise)
		service.Path = r.before.App(app).Command[0]
		service.Args[0] = service.Path
		startTwin(t, sidecar)
		startTwin(t, service)
		twins = append(twins, service, sidecar)
	}
	for _, app := range r.before.Apps() {
		r.awaitTwin(t, app, raise)
	}
	r.traffic.settle(t)
	for _, app := range r.before.Apps() {
		if !slices.Contains(r.subscribers(), app) {
			continue
		}
		// Customers go on ordering, and which replica is given an event is the broker's choice.
		eventually(t, settleWithin, app+" of the release before handles events", func(context.Context) error {
			if n := r.metric(t, raised(r.HealthURL(app), raise), "quadrille_inbox_handled_total"); n == 0 {
				return errors.New("it has handled none")
			}
			return nil
		})
	}
	for _, twin := range twins { // a service first, which publishes through its sidecar
		stopTwin(t, twin, soon)
	}
	r.traffic.settle(t)
}

// alone lets a service of the release before work among today's for a while. The one that
// did so last is replaced by today's at the same time.
func (r *releases) alone(t *testing.T, app string, earlier []string) {
	waiting := r.waiting(t)
	change := map[string]*stack.Stack{app: r.before}
	if len(earlier) > 0 {
		change[earlier[len(earlier)-1]] = r.Stack
	}
	r.replaceSome(t, change)
	r.traffic.settle(t)
	r.approved(t, waiting)
}

// roll replaces all services of the release before, as an upgrade does. Today's get no
// setting that the release before did not know: its deployment files are still used.
func (r *releases) roll(t *testing.T) {
	r.replaceAll(t, r.before)
	waiting := r.waiting(t)
	r.traffic.settle(t)
	for _, app := range r.before.Apps() {
		env := r.App(app).Env
		for name, value := range env {
			if _, known := r.before.App(app).Env[name]; !known && strings.HasPrefix(name, "QUADRILLE_") {
				t.Logf("%s starts without its new setting %s", app, name)
				delete(env, name)
				t.Cleanup(func() { env[name] = value })
			}
		}
		r.replaceSome(t, map[string]*stack.Stack{app: r.Stack})
	}
	r.traffic.settle(t)
	r.approved(t, waiting)
}

// replaceSome replaces services, by name, at the same time.
func (r *releases) replaceSome(t *testing.T, by map[string]*stack.Stack) {
	t.Helper()
	errs := make(chan error, len(by))
	for app, release := range by {
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), readyTimeout)
			defer cancel()
			errs <- r.Replace(ctx, app, release)
		}()
	}
	var err error
	for range by {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (r *releases) replaceAll(t *testing.T, by *stack.Stack) {
	t.Helper()
	all := map[string]*stack.Stack{}
	for _, app := range r.before.Apps() {
		all[app] = by
	}
	r.replaceSome(t, all)
}

// waiting places companies' orders and returns them once they wait for approval.
func (r *releases) waiting(t *testing.T) []uuid.UUID {
	t.Helper()
	c := *r.deals.company
	c.t = t
	ids := []uuid.UUID{c.mustSubmit(1, largePrice), c.mustSubmit(1, largePrice)}
	c.awaitStatus("awaiting_approval", ids...)
	return ids
}

// approved approves orders, which the company placed before the change, and waits until
// they have ended.
func (r *releases) approved(t *testing.T, ids []uuid.UUID) {
	t.Helper()
	for _, id := range ids {
		if err := r.deals.mustCount(t.Context(), id, "ann", "approve"); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range ids {
		if err := r.deals.awaitEnd(t.Context(), id, "completed"); err != nil {
			t.Fatal(err)
		}
	}
}

// traffic is customers who order at a steady pace until they are told to stop.
type traffic struct {
	*system
	t      *testing.T
	load   *load
	done   chan struct{}
	all    sync.WaitGroup
	looked map[uuid.UUID]bool // orders that settled before
}

const trafficPace = time.Second / 20

func newTraffic(t *testing.T, s *system) *traffic {
	t.Helper()
	l := &load{name: "releases-" + newKey()[:8], ends: map[uuid.UUID]string{}}
	for i := range 4 {
		s.setStock(t, l.sku(i), map[string]int64{"leeds": enough, "york": enough})
	}
	return &traffic{system: s, t: t, load: l, done: make(chan struct{}), looked: map[uuid.UUID]bool{}}
}

func (f *traffic) begin() {
	due := make(chan int)
	f.all.Go(func() {
		defer close(due)
		tick := time.NewTicker(trafficPace)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-f.done:
				return
			case <-tick.C:
			}
			select {
			case <-f.done:
				return
			case due <- i:
			}
		}
	})
	for range buyers {
		f.all.Go(func() {
			for i := range due {
				ctx, cancel := context.WithTimeout(f.t.Context(), loadTimeout)
				f.load.buy(ctx, f.system, i)
				cancel()
			}
		})
	}
}

func (f *traffic) finish() {
	close(f.done)
	f.all.Wait()
}

// settle waits until 40 more orders are placed and all have settled, each as it should.
func (f *traffic) settle(t *testing.T) {
	t.Helper()
	const more = 40
	var placed map[uuid.UUID]string
	enoughAt := len(f.open(t)) + more
	eventually(t, loadTimeout, "orders placed", func(context.Context) error {
		if placed = f.open(t); len(placed) < enoughAt {
			return fmt.Errorf("%d of %d", len(placed), enoughAt)
		}
		return nil
	})
	ids := make([]uuid.UUID, 0, len(placed))
	for id := range placed {
		ids = append(ids, id)
	}
	for id, o := range f.awaitSettled(t, settleWithin, ids...) {
		if end := o.end(); end != placed[id] {
			t.Errorf("order %s ended %s, not %s", id, end, placed[id])
		}
		f.looked[id] = true
	}
}

// open are the orders placed that have not been seen to settle.
func (f *traffic) open(t *testing.T) map[uuid.UUID]string {
	t.Helper()
	f.load.mu.Lock()
	defer f.load.mu.Unlock()
	if f.load.fault != nil {
		t.Fatalf("traffic: %v", f.load.fault)
	}
	found := map[uuid.UUID]string{}
	for id, end := range f.load.ends {
		if !f.looked[id] {
			found[id] = end
		}
	}
	return found
}

// answers counts what the services answer, and fails the test for a 500.
type answers struct {
	http.RoundTripper
	t      *testing.T
	mu     sync.Mutex
	counts map[int]int
}

func watchAnswers(t *testing.T, s *system) *answers {
	t.Helper()
	a := &answers{RoundTripper: s.http.Transport, t: t, counts: map[int]int{}}
	s.http.Transport = a
	t.Cleanup(func() { s.http.Transport = a.RoundTripper })
	return a
}

func (a *answers) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := a.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.counts[res.StatusCode]++; res.StatusCode == http.StatusInternalServerError {
		a.t.Errorf("%s %s answers 500", req.Method, req.URL)
	}
	return res, nil
}

// CloseIdleConnections is for http.Client, which looks for it.
func (a *answers) CloseIdleConnections() {
	if t, ok := a.RoundTripper.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

func (a *answers) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return fmt.Sprint(a.counts)
}
