package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"quadrille.internal/local/stack"
)

// Config of a benchmark.
type Config struct {
	Stack     *stack.Stack // running
	Scenarios []Scenario
	Seed      uint64
	// Watchers watch the stock of the SKU of a flash sale meanwhile.
	Watchers Watchers
	// BareDapr says whether to measure bare Dapr too.
	BareDapr bool
	// Verify proves the books and returns what is wrong with them.
	Verify func(context.Context) (faults []string, err error)
	// Dir keeps the results.
	Dir string
	// Live is told how a run is getting on, several times a second; Done, the
	// result of each.
	Live func(string)
	Done func(*Result)
}

// ErrUnverified says that at least one run has no result.
var ErrUnverified = errors.New("the books are not right, so there is no result")

// ErrGrown says that memory grew where it must not.
var ErrGrown = errors.New("resident memory grew")

// Run runs the scenarios one after the other.
func Run(ctx context.Context, cfg Config) error {
	kept, err := newArchive(cfg.Dir, time.Now())
	if err != nil {
		return err
	}
	bare, err := cfg.measureBareDapr(ctx)
	if err != nil {
		return err
	}
	about := describe(ctx, cfg.Stack.Root)
	var faults []error
	for _, s := range cfg.Scenarios {
		r := &Result{
			Scenario: s.Name, At: time.Now(), Commit: about.commit, Machine: about.machine,
			Mode: s.mode(), Seed: cfg.Seed, Orders: s.Orders, WarmUp: s.WarmUp,
		}
		if err := cfg.runOne(ctx, s, r); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		r.compareWith(bare[bareKeyOf(s)])
		if err := kept.keep(r); err != nil {
			return err
		}
		cfg.Done(r)
		faults = append(faults, s.fault(r))
	}
	return errors.Join(faults...)
}

// fault is what a result must not show.
func (s *Scenario) fault(r *Result) error {
	if !r.Verified {
		return fmt.Errorf("%s: %w", s.Name, ErrUnverified)
	}
	if parts := grown(r.GrowthMB); s.Flat && len(parts) > 0 {
		return fmt.Errorf("%s: %w: %s", s.Name, ErrGrown, strings.Join(parts, ", "))
	}
	return nil
}

// bareKey is what a measurement of bare Dapr depends on.
type bareKey struct{ inFlight, bytes int }

func bareKeyOf(s Scenario) bareKey { return bareKey{s.InFlight, s.eventBytes()} }

// measureBareDapr measures bare Dapr once for each kind of scenario, before
// them all: its processes are gone by the time that orders come in.
func (cfg *Config) measureBareDapr(ctx context.Context) (bare map[bareKey]*BareDapr, err error) {
	bare = map[bareKey]*BareDapr{}
	if !cfg.BareDapr || !cfg.onRedis() || !slices.ContainsFunc(cfg.Scenarios, func(s Scenario) bool { return !s.trade.approvals }) {
		return bare, nil
	}
	cfg.Live("bare Dapr: starting")
	c, err := startBareDapr(ctx, cfg.Stack)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop(ctx)) }()
	for _, s := range cfg.Scenarios {
		key := bareKeyOf(s)
		if bare[key] != nil || s.trade.approvals {
			continue
		}
		cfg.Live(fmt.Sprintf("bare Dapr: %d hops, %d bytes, %d in flight", hops, key.bytes, key.inFlight))
		if bare[key], err = c.measure(ctx, key.inFlight, key.bytes); err != nil {
			return nil, err
		}
	}
	return bare, nil
}

// compareWith enters what bare Dapr does; nil if that was not measured.
func (r *Result) compareWith(c *BareDapr) {
	if r.Figures == nil || c == nil {
		return
	}
	r.BareDapr, r.BareDaprPerSecond = c, c.PerSecond
	r.RatioToBareDapr = per(r.OrdersPerSecond, c.PerSecond)
}

// onRedis says that events go by Redis, the only broker that is asked how it is doing, and
// that bare Dapr is measured on.
func (cfg *Config) onRedis() bool {
	return !cfg.Stack.OneProcess() && cfg.Stack.BrokerPart() == "redis"
}

// trial is one run of one scenario.
type trial struct {
	*Config
	scenario Scenario
	runID    string
	books    *books
	broker   *broker // Redis; nil where events go otherwise
	census   *census
	load     *load
}

func (cfg *Config) runOne(ctx context.Context, s Scenario, r *Result) error {
	t := &trial{Config: cfg, scenario: s, runID: strconv.FormatInt(time.Now().UnixMilli(), 36)}
	var err error
	if t.books, err = openBooks(ctx, s.trade, cfg.Stack.WithDatabase(), cfg.Stack.AuditorURL); err != nil {
		return err
	}
	defer t.books.close(context.WithoutCancel(ctx))
	if cfg.onRedis() {
		if t.broker, err = openBroker(ctx, cfg.Stack.RedisAddr(), cfg.Stack.RedisPassword()); err != nil {
			return err
		}
		defer t.broker.close()
	}
	t.Live(s.Name + ": stocking up")
	if err := stockUp(ctx, t.books, s, t.runID, t.admin("inventory")); err != nil {
		return err
	}
	if s.trade.approvals {
		if err := foundCompanies(ctx, t.admin(s.trade.desk)); err != nil {
			return err
		}
	}
	onSale, err := t.books.onSale(ctx)
	if err != nil {
		return err
	}
	figures, err := t.measure(ctx)
	if err != nil {
		return err
	}
	return t.judge(ctx, r, figures, onSale)
}

func (t *trial) admin(service string) adminPort {
	return adminPort{strings.TrimPrefix(t.Stack.AdminURL(service), "http://"), t.Stack.AdminToken(service)}
}

func (t *trial) host(service string) string {
	return strings.TrimPrefix(t.Stack.HTTPURL(service), "http://")
}

// judge enters the figures if, and only if, the books are right.
func (t *trial) judge(ctx context.Context, r *Result, f *Figures, onSale map[string]int64) error {
	sold, err := t.books.sold(ctx)
	if err != nil {
		return err
	}
	r.Oversold = oversold(sold, onSale)
	t.Live(t.scenario.Name + ": verifying the books")
	if r.Faults, err = t.Verify(ctx); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if r.Oversold > 0 {
		r.Faults = append(r.Faults, fmt.Sprintf("%d units were sold that never were there", r.Oversold))
	}
	if t.scenario.goods == hot {
		f.UnitsSold = sold[hotSKU(t.runID)]
		if want := t.scenario.units(); f.UnitsSold != want && f.Outcomes["out_of_stock"] > 0 {
			r.Faults = append(r.Faults, fmt.Sprintf("%d of %d units were sold, and buyers sent away", f.UnitsSold, want))
		}
	}
	if r.Verified = len(r.Faults) == 0; r.Verified {
		r.Figures = f
	}
	return nil
}

// measure places the orders, waits until all are settled and adds up what it took.
func (t *trial) measure(ctx context.Context) (*Figures, error) {
	pids, err := partsOf(t.Stack)
	if err != nil {
		return nil, err
	}
	t.load = newLoad(t.scenario, t.Seed, t.runID, t.host(t.scenario.trade.shop), t.host(t.scenario.trade.desk))
	crowd, err := t.Watchers.open(t)
	if err != nil {
		return nil, err
	}
	t.census = newCensus(pids)
	before, err := t.look(ctx)
	if err != nil {
		return nil, err
	}
	watching, enough := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { defer close(watched); t.census.watch(watching) }()

	err = t.perform(ctx)
	enough()
	<-watched
	if err != nil {
		return nil, err
	}
	after, err := t.look(ctx)
	if err != nil {
		return nil, err
	}
	f, err := t.figures(ctx, before, after)
	if err == nil && crowd != nil {
		f.Watchers, err = crowd.result()
	}
	return f, err
}

// perform runs the load while following it, and then waits for the last orders.
func (t *trial) perform(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	placed := make(chan error, 1)
	go func() { placed <- t.load.run(ctx) }()
	if err := t.follow(ctx, placed); err != nil {
		return err
	}
	if failure := t.load.failure.Load(); failure != nil {
		return *failure
	}
	return t.settle(ctx)
}

const (
	paceEvery = 50 * time.Millisecond // a closed loop needs to know soon
	// decideEvery is how long an order may have waited for its decision when it gets it.
	decideEvery = 20 * time.Millisecond
	lookEvery   = 250 * time.Millisecond
	stallAfter  = time.Minute
	// lateness is how long after its id was made a checkout may be committed for
	// pacing to see it. Those that are later, if any, are seen in the end.
	lateness = time.Second
)

// follow lets further orders in as earlier ones are settled, until all are placed.
func (t *trial) follow(ctx context.Context, placed <-chan error) error {
	every := lookEvery
	if t.scenario.closed() {
		every = paceEvery
	}
	if t.scenario.trade.approvals {
		every = decideEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	m := newMeter(t)
	from, asked := t.books.first, map[int]bool{}
	for {
		select {
		case err := <-placed:
			if err != nil {
				return errors.Join(err, ctx.Err())
			}
			return nil
		case <-tick.C:
		}
		over := t.load.accepted.Load() // before asking, or orders would seem settled too soon
		unsettled, oldest, err := t.books.unsettled(ctx, from)
		if err != nil {
			return err
		}
		settled := max(0, int(over)-unsettled)
		t.load.gate.settled(settled + int(t.load.given.Load()))
		if t.scenario.trade.approvals {
			if err := t.approve(ctx, asked, from); err != nil {
				return err
			}
		}
		m.show(settled)
		if from = lowestID(time.Now().Add(-lateness)); oldest != "" && oldest < from {
			from = oldest
		}
	}
}

// settle waits until nothing is under way: every event handled, every row final.
func (t *trial) settle(ctx context.Context) error {
	least, since := int64(math.MaxInt64), time.Now()
	for {
		left, err := t.remaining(ctx)
		if err != nil || left == 0 {
			return err
		}
		t.Live(fmt.Sprintf("%s: all placed, %d facts still under way", t.scenario.Name, left))
		if left < least {
			least, since = left, time.Now()
		}
		if time.Since(since) > stallAfter {
			return fmt.Errorf("%d events are not handled or rows not final, unchanged for %s", left, stallAfter)
		}
		if err := sleep(ctx, lookEvery); err != nil {
			return err
		}
	}
}

// remaining counts events first, which is cheap, and rows once there are none.
func (t *trial) remaining(ctx context.Context) (int64, error) {
	if t.broker != nil {
		if events, err := t.broker.undelivered(); err != nil || events > 0 {
			return events, err
		}
	}
	rows, err := t.books.underWay(ctx)
	return int64(rows), err
}
