package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"quadrille.internal/local/bench"
	"quadrille.internal/local/stack"
	"quadrille.internal/quad/installation"
)

// report measures a little, once the tests are done and the machine is free: on Dapr, then
// in one process. It only tells. Nothing fails for being slow, but books that do not
// balance do. The results stay in .local/report, where the next run compares with them.
func report(ctx context.Context, s *stack.Stack) error {
	for _, broker := range []string{stack.Redis, stack.OneProcess} {
		if err := reportOn(ctx, s, broker); err != nil {
			return fmt.Errorf("measure on %s: %w", broker, err)
		}
	}
	return nil
}

func reportOn(ctx context.Context, tests *stack.Stack, broker string) (err error) {
	if err := tests.Down(ctx); err != nil {
		return err
	}
	s, err := stack.New(stack.Options{
		Root: tests.Root, Dir: tests.Dir, PortShift: stack.TestPortShift, Broker: broker, Services: stack.ForOrders,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Down(context.WithoutCancel(ctx))) }()
	if err := s.Up(ctx); err != nil {
		return err
	}
	steady, err := bench.Choose("steady", bench.Overrides{Orders: 4_000, WarmUp: 1_000})
	if err != nil {
		return err
	}
	slow, err := bench.Choose("steady-50", bench.Overrides{Orders: 250, WarmUp: 50})
	if err != nil {
		return err
	}
	r := installation.Open(installation.Local, s.Context(), installation.Options{})
	defer r.Close()

	dir := filepath.Join(s.Root, ".local", "report", broker)
	before, err := bench.ReadResults(filepath.Join(dir, "latest.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	after := bench.Results{}
	fmt.Printf("\nmeasured on %s, in %s:\n", broker, dir)
	err = bench.Run(ctx, bench.Config{
		Stack: s, Scenarios: append(steady, slow...), Seed: 1, BareDapr: broker != stack.OneProcess, Dir: dir,
		Verify: func(ctx context.Context) ([]string, error) { return bookFaults(ctx, r) },
		Live:   func(string) {},
		Done: func(res *bench.Result) {
			after[res.Scenario] = res
			printResult(res)
			if res.Figures != nil && res.Where != nil {
				fmt.Print(res.Where)
			}
		},
	})
	if err != nil || before == nil {
		return explainBench(r, err)
	}
	fmt.Println("beside the run before:")
	return bench.Compare(os.Stdout, before, after)
}
