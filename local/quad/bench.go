package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quadrille.internal/local/bench"
	"quadrille.internal/local/stack"
	"quadrille.internal/quad/command"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
	"quadrille.internal/quad/verify"
)

type benchFlags struct {
	scenario   string
	overrides  bench.Overrides
	seed       uint64
	noBareDapr bool
	together   bool // all services in one process
	compare    bool
	where      bool
	watchers   bench.Watchers
}

func newBench(g *globals) *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how many orders are settled a second, and how soon",
		Long: `bench places orders through HTTP as buyers do, waits until each is settled and its
events are handled, and verifies the books; without that there is no result. Beside it
runs bare Dapr: the same sidecars and broker, no database. It starts what is
not running and stops what it started.

Results are in .local/bench: latest.json has the newest of each scenario, with a
picture; every run has a folder. docs/performance.md says how to read them.

Scenarios: all, ` + strings.Join(bench.Names(), ", "),
		Example: `  quad bench --scenario steady --in-flight 1000 --orders 30000
  quad bench --scenario steady --rate 500
  quad bench b2b
  quad bench --compare before.json .local/bench/latest.json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if f.compare {
				return command.Exactly("file", "file")(cmd, args)
			}
			return command.NoArgs(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.compare {
				return compareResults(args[0], args[1])
			}
			return f.run(cmd.Context(), g)
		},
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.scenario, "scenario", "steady", "what is ordered, and how it comes in; several with commas")
	flags.Float64Var(&f.overrides.Rate, "rate", 0, "open loop: orders a second, whatever becomes of them")
	flags.BoolVar(&f.noBareDapr, "no-bare-dapr", false, "leave out bare Dapr")
	flags.IntVar(&f.watchers.Browsers, "watchers", 0, "flash: browsers that watch the stock of what is sold; each takes a file at both ends")
	flags.StringVar(&f.watchers.At, "watchers-at", "gateway", "flash: the service whose port they ask: gateway or cart")
	flags.BoolVar(&f.noBareDapr, "no-chain", false, "leave out bare Dapr")
	_ = flags.MarkDeprecated("no-chain", "it is called --no-bare-dapr now") // the flag is defined above
	flags.BoolVar(&f.compare, "compare", false, "compare two result files")
	cmd.MarkFlagsMutuallyExclusive("in-flight", "rate")
	cmd.AddCommand(newBenchB2B(g), newBenchHistory(g), newBenchVisits(g))
	return cmd
}

// newBenchB2B measures the saga, once for how many and once for how soon.
func newBenchB2B(g *globals) *cobra.Command {
	f := benchFlags{scenario: "b2b,b2b-16", noBareDapr: true}
	cmd := &cobra.Command{
		Use:   "b2b",
		Short: "Measure companies' orders: whole sagas a second, and approval to completion",
		Long: `b2b is bench --scenario b2b,b2b-16: companies' orders that each wait for one approval,
which is given at once; first 64 at once, for how many a second, then 16, for how soon.`,
		Args: command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), g) },
	}
	f.add(cmd)
	return cmd
}

// add defines the flags that every way to measure has.
func (f *benchFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.IntVar(&f.overrides.Orders, "orders", 0, "orders that count (default: the scenario's)")
	flags.IntVar(&f.overrides.InFlight, "in-flight", 0, "closed loop: orders placed and not settled (default: the scenario's)")
	flags.IntVar(&f.overrides.WarmUp, "warm-up", -1, "orders before those that count (default: by scenario)")
	flags.IntVar(&f.overrides.Connections, "connections", 0, "requests under way at most (default: the scenario's)")
	flags.BoolVar(&f.together, "one-process", false, "with all services in one process, without Dapr; there is no bare Dapr then")
	flags.BoolVar(&f.where, "where", false, "show where the time of orders went, part by part")
	flags.Uint64Var(&f.seed, "seed", 1, "the same seed places the same orders")
}

func compareResults(before, after string) error {
	a, err := bench.ReadResults(before)
	if err != nil {
		return command.UsageError{Err: err}
	}
	b, err := bench.ReadResults(after)
	if err != nil {
		return command.UsageError{Err: err}
	}
	return bench.Compare(os.Stdout, a, b)
}

func (f *benchFlags) run(ctx context.Context, g *globals) error {
	chosen, err := bench.Choose(f.scenario, f.overrides)
	if err != nil {
		return command.UsageError{Err: err}
	}
	broker := ""
	if f.together {
		broker = stack.OneProcess
	}
	opts := stack.Options{Broker: broker, Usual: stack.ForOrders}
	if f.watchers.Browsers > 0 {
		opts.Services, opts.Env = append(slices.Clone(stack.ForOrders), "cart", "gateway"), f.watchers.Env()
	}
	return whileUp(ctx, g, opts, func(s *stack.Stack) error { return f.measure(ctx, g, s, chosen) })
}

func (f *benchFlags) measure(ctx context.Context, g *globals, s *stack.Stack, chosen []bench.Scenario) error {
	r, err := g.connect()
	if err != nil {
		return err
	}
	defer r.Close()

	live := newLiveLine(os.Stderr)
	results := bench.Results{}
	err = bench.Run(ctx, bench.Config{
		Stack: s, Scenarios: chosen, Watchers: f.watchers, Seed: f.seed, BareDapr: !f.noBareDapr, Dir: filepath.Join(s.Dir, "bench"),
		Verify: func(ctx context.Context) ([]string, error) { return bookFaults(ctx, r) },
		Live:   live.show,
		Done: func(res *bench.Result) {
			live.clear()
			results[res.Scenario] = res
			if !g.JSON {
				printResult(res)
			}
			if f.where && !g.JSON && res.Figures != nil && res.Where != nil {
				fmt.Print(res.Where)
			}
		},
	})
	live.clear()
	if g.JSON && len(results) > 0 {
		err = errors.Join(err, output.JSON(os.Stdout, results))
	}
	return explainBench(r, err)
}

func explainBench(r *installation.Installation, err error) error {
	switch {
	case errors.Is(err, bench.ErrUnverified), errors.Is(err, bench.ErrGrown):
		return command.Unwell{Err: err}
	case errors.Is(err, bench.ErrNoCommitTimes):
		return &stack.EnvironmentError{
			Problem: err.Error(), Remedy: "`quad down`, then again: it starts with it; a server of your own needs the setting",
		}
	default:
		return command.Explain(r, err)
	}
}

// whileUp does work on a stack with the given options that is up, and leaves it as it was.
func whileUp(ctx context.Context, g *globals, opts stack.Options, work func(*stack.Stack) error) (err error) {
	opts.Dir, opts.Report = g.dir, newProgress(os.Stderr, g.JSON).report
	s, err := stack.New(opts)
	if err != nil {
		return err
	}
	stop, err := bringUp(ctx, s)
	defer func() { err = errors.Join(err, stop(context.WithoutCancel(ctx))) }()
	if err != nil {
		return err
	}
	return work(s)
}

// bringUp starts what is not running. stop takes a stack down again that was
// wholly down before.
func bringUp(ctx context.Context, s *stack.Stack) (stop func(context.Context) error, err error) {
	up, missing := false, false
	for _, part := range s.Status(ctx) {
		up, missing = up || part.PID != 0, missing || part.PID == 0 && !part.External
	}
	stop = func(context.Context) error { return nil }
	if !missing {
		return stop, nil
	}
	if !up {
		stop = s.Down
	}
	for _, step := range []func(context.Context) error{s.BuildToolchain, s.Build, s.Up} {
		if err := step(ctx); err != nil {
			return stop, err
		}
	}
	return stop, nil
}

// bookFaults lists what quad verify finds.
func bookFaults(ctx context.Context, r *installation.Installation) ([]string, error) {
	const settle = 15 * time.Second
	books, err := command.VerifySources(ctx, r)
	if err != nil {
		return nil, err
	}
	books.Settle = settle
	report, err := verify.Run(ctx, books)
	if err != nil {
		return nil, err
	}
	var faults []string
	for _, c := range report.Checks {
		if n := len(c.Offenders); n > 0 {
			faults = append(faults, fmt.Sprintf("%s: %d at fault, such as %s: %s", c.Name, n, c.Offenders[0].ID, c.Offenders[0].Problem))
		}
	}
	return faults, nil
}

func printResult(r *bench.Result) {
	fmt.Printf("\n%s  %s, %d orders, seed %d\n", output.Paint(os.Stdout, output.Green, r.Scenario), r.Mode, r.Orders, r.Seed)
	if !r.Verified {
		for _, fault := range r.Faults {
			fmt.Printf("  %s  %s\n", output.Paint(os.Stdout, output.Red, "FAULT"), fault)
		}
		return
	}
	t := output.NewTable("", "", "P50", "P95", "P99", "MAX").AlignRight(1, 2, 3, 4)
	for _, row := range []struct {
		name string
		q    bench.Quantiles
	}{{"settled, ms", r.SettledMS}, {"HTTP answer, ms", r.HTTPMS}, {"customer told why not, ms", r.ToldMS}, {"approval to completion, ms", r.ApprovedMS}} {
		if row.q == (bench.Quantiles{}) {
			continue // there was none
		}
		t.Add("  "+row.name, tenths(row.q.P50), tenths(row.q.P95), tenths(row.q.P99), tenths(row.q.Max))
	}
	fmt.Printf("  %s orders/s", output.Paint(os.Stdout, output.Green, fmt.Sprintf("%.0f", r.OrdersPerSecond)))
	if r.BareDapr != nil {
		fmt.Printf(", %.2f of bare Dapr's %.0f", r.RatioToBareDapr, r.BareDaprPerSecond)
	}
	fmt.Printf("; %s; oversold %d; verified\n", outcomesOf(r), r.Oversold)
	t.Print(os.Stdout)
	if w := r.Watchers; w != nil {
		fmt.Printf("  %d browsers watched the stock and were told %d times, %d of them that it is sold out; they took %.1f s of CPU themselves\n",
			w.Browsers, w.Frames, w.SoldOut, w.CPUSeconds)
	}
	printCosts(r)
}

func outcomesOf(r *bench.Result) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(r.Outcomes)) {
		parts = append(parts, fmt.Sprintf("%d %s", r.Outcomes[name], name))
	}
	if r.Shed > 0 {
		parts = append(parts, fmt.Sprintf("%d times told to come back, %d gave up", r.Shed, r.TurnedAway))
	}
	return strings.Join(parts, ", ")
}

func printCosts(r *bench.Result) {
	t := output.NewTable("  part", "CPU s", "early MB", "late MB", "peak MB").AlignRight(1, 2, 3, 4)
	for _, part := range slices.SortedFunc(maps.Keys(r.CPUSeconds), func(a, b string) int {
		return int(1000 * (r.CPUSeconds[b] - r.CPUSeconds[a]))
	}) {
		early, late := "", ""
		if g, ok := r.GrowthMB[part]; ok {
			early, late = tenths(g.Early), tenths(g.Late)
		}
		t.Add("  "+part, tenths(r.CPUSeconds[part]), early, late, tenths(r.PeakResidentMB[part]))
	}
	t.Print(os.Stdout)
	fmt.Printf("  an order: %.2f ms of CPU, %.0f bytes of WAL, %.0f bytes through the broker; %.0f %% of all cores used\n",
		r.CPUMSPerOrder, r.WALBytesPerOrder, r.BrokerBytesPerItem, 100*r.CPUShare)
	fmt.Printf("  events a transaction %s, a publish %s; outbox: %.0f deferred, %.0f recovered; %.0f duplicates\n",
		byService(r.EventsPerTx), byService(r.EventsPerPublish), r.Deferred, r.Recovered, r.Duplicates)
}

func byService(values map[string]float64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		parts = append(parts, fmt.Sprintf("%s %.1f", name, values[name]))
	}
	return strings.Join(parts, " ")
}

func tenths(v float64) string { return fmt.Sprintf("%.1f", v) }

// A liveLine is rewritten on a terminal; elsewhere it is printed now and then.
type liveLine struct {
	out  *os.File
	last time.Time
	open bool
}

func newLiveLine(out *os.File) *liveLine { return &liveLine{out: out} }

func (l *liveLine) show(text string) {
	if output.OnTerminal(l.out) {
		fmt.Fprintf(l.out, "\r\x1b[K  %s", text)
		l.open = true
		return
	}
	if time.Since(l.last) >= 5*time.Second {
		l.last = time.Now()
		fmt.Fprintln(l.out, "  "+text)
	}
}

func (l *liveLine) clear() {
	if l.open {
		fmt.Fprint(l.out, "\r\x1b[K")
		l.open = false
	}
}
