package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"quadrille.internal/local/bench"
	"quadrille.internal/local/stack"
	"quadrille.internal/local/visit"
	"quadrille.internal/quad/api"
	"quadrille.internal/quad/command"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
)

// visitGoods is how many products the visitors choose from.
const visitGoods = 200

// unlimited has the gateway take all visits, and believe from which addresses they come.
var unlimited = map[string]string{
	"QUADRILLE_ADDRESS_RATE": "1000000", "QUADRILLE_ADDRESS_BURST": "1000000",
	"QUADRILLE_CALLER_RATE": "1000000", "QUADRILLE_CALLER_BURST": "1000000",
	"QUADRILLE_TRUSTED_PROXIES": "127.0.0.0/8",
}

func newBenchVisits(g *globals) *cobra.Command {
	var (
		v        bench.Visits
		together bool
	)
	cmd := &cobra.Command{
		Use:   "visits",
		Short: "Measure customers' visits through the gateway: eight requests each, of which one orders",
		Long: `visits signs customers in and has them visit the shop through the gateway: two searches, a
price, two lines of the cart, a quote, the order and a look at it. Visits begin at a rate,
whatever becomes of those before. At the end the books are proven.`,
		Example: "  quad bench visits --one-process --rate 300 --visits 6000",
		Args:    command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if v.Rate <= 0 || v.Visits < 1 || v.Customers < 1 {
				return command.UsageError{Err: errors.New("rate, visits and customers are at least 1")}
			}
			broker := ""
			if together {
				broker = stack.OneProcess
			}
			s, err := stack.New(stack.Options{
				Dir: g.dir, Broker: broker, Env: unlimited, Report: newProgress(os.Stderr, g.JSON).report,
			})
			if err != nil {
				return err
			}
			return measureVisits(cmd.Context(), g, s, v)
		},
	}
	flags := cmd.Flags()
	flags.Float64Var(&v.Rate, "rate", 100, "visits that begin each second")
	flags.IntVar(&v.Visits, "visits", 3_000, "visits in all")
	flags.IntVar(&v.Customers, "customers", 200, "customers, each of whom makes one visit at a time")
	flags.BoolVar(&together, "one-process", false, "with all services in one process, without Dapr")
	return cmd
}

func measureVisits(ctx context.Context, g *globals, s *stack.Stack, v bench.Visits) (err error) {
	stop, err := bringUp(ctx, s)
	defer func() { err = errors.Join(err, stop(context.WithoutCancel(ctx))) }()
	if err != nil {
		return err
	}
	r, err := g.connect()
	if err != nil {
		return err
	}
	defer r.Close()
	if v.Goods, err = putGoodsOnSale(ctx, r); err != nil {
		return err
	}
	live := newLiveLine(os.Stderr)
	v.Stack, v.Live = s, live.show
	res, err := v.Run(ctx)
	live.clear()
	if err != nil {
		return err
	}
	if g.JSON {
		err = output.JSON(os.Stdout, res)
	} else {
		printVisits(res)
	}
	faults, booksErr := bookFaults(ctx, r)
	if len(faults) > 0 {
		booksErr = errors.Join(booksErr, command.Unwell{Err: fmt.Errorf("the books do not balance:\n%s", strings.Join(faults, "\n"))})
	}
	return errors.Join(err, booksErr)
}

func putGoodsOnSale(ctx context.Context, r *installation.Installation) ([]visit.Product, error) {
	operator, err := visit.OperatorOf(r)
	if err != nil {
		return nil, err
	}
	if err := operator.Open(ctx); err != nil {
		return nil, err
	}
	run := uuid.NewString()[:4]
	goods := make([]visit.Product, visitGoods)
	for i := range goods {
		p := visit.Product{SKU: fmt.Sprintf("GOODS-%s-%d", run, i), Title: fmt.Sprintf("Enamel mug %s %d", run, i), Price: int64(100 + i)}
		if err := operator.Sell(ctx, p); err != nil {
			return nil, err
		}
		if _, err := r.Client.ForceStock(ctx, p.SKU, []api.Count{{Warehouse: "leeds", OnHand: 1_000_000}}); err != nil {
			return nil, err
		}
		goods[i] = p
	}
	return goods, nil
}

func printVisits(res *bench.VisitsResult) {
	fmt.Printf("%d visits, %.0f a second, %d failed; %.2f ms of CPU each, %.0f %% of all cores used\n",
		res.Visits, res.PerSecond, res.Failed, res.CPUMSPerVisit, 100*res.CPUShare)
	for _, f := range res.Failures {
		fmt.Println("  " + f)
	}
	t := output.NewTable("ms", "P50", "P95", "P99", "MAX").AlignRight(1, 2, 3, 4)
	row := func(name string, q bench.Quantiles) {
		ms := func(v float64) string { return fmt.Sprintf("%.1f", v) }
		t.Add(name, ms(q.P50), ms(q.P95), ms(q.P99), ms(q.Max))
	}
	for _, name := range slices.Sorted(maps.Keys(res.HTTP)) {
		shown := name
		if name == "" {
			shown = "every request"
		}
		row(shown, res.HTTP[name])
	}
	row("whole visits", res.Whole)
	t.Print(os.Stdout)
	parts := output.NewTable("PART", "CPU s", "MB").AlignRight(1, 2)
	for _, part := range slices.Sorted(maps.Keys(res.CPUSeconds)) {
		parts.Add(part, fmt.Sprintf("%.1f", res.CPUSeconds[part]), fmt.Sprintf("%.0f", res.ResidentMB[part]))
	}
	parts.Print(os.Stdout)
}
