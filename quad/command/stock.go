package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"quadrille.internal/quad/api"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
)

func newStock(g *Globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stock",
		Short: "See and set what lies in the warehouses",
		Args:  NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStockShow(g), writes(newStockSet(g)), writes(newStockAdjust(g)))
	return cmd
}

func newStockShow(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:     "show SKU",
		Short:   "Show a SKU's stock in all warehouses",
		Example: "  quad stock show A1",
		Args:    Exactly("SKU"),
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, args []string) error {
			stock, err := inst.Client.Stock(cmd.Context(), args[0])
			if err != nil {
				return fmt.Errorf("show stock of %s: %w", args[0], err)
			}
			return PrintStock(g, stock)
		}),
	}
}

func newStockSet(g *Globals) *cobra.Command {
	var force bool
	var version string
	cmd := &cobra.Command{
		Use:   "set SKU WAREHOUSE=N ...",
		Short: "Set what lies in warehouses",
		Long: `set puts a count of a SKU into the books of each warehouse named; the others stay as
they are. Less than orders hold is refused.

Goods may move while somebody counts: note the version that quad stock show prints
before counting, and give it with --version. If anything was shipped, counted or
adjusted since, nothing is set and it returns 1. Without --version only what moves while
the command itself runs is noticed; with --force not even that. What comes in or goes
out is better told with quad stock adjust, which is right whatever is shipped meanwhile.`,
		Example: `  quad stock set A1 leeds=10 --version "$(quad stock show A1 --json | jq -r .version)"
  quad stock set A1 leeds=10 bristol=5`,
		Args: cobra.ArbitraryArgs,
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, args []string) error {
			counts, err := parseCounts(args)
			if err != nil {
				return UsageError{err}
			}
			stock, err := setStock(cmd.Context(), inst.Client, args[0], counts, version, force)
			if err != nil {
				return fmt.Errorf("set stock of %s: %w", args[0], err)
			}
			return PrintStock(g, stock)
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "set it even if goods move meanwhile")
	cmd.Flags().StringVar(&version, "version", "", "of the stock when it was counted, as quad stock show prints it")
	cmd.MarkFlagsMutuallyExclusive("force", "version")
	return cmd
}

// setStock sets a count of the stock of a version, or as it is now.
func setStock(ctx context.Context, client *api.Client, sku string, counts []api.Count, version string, force bool) (api.Stock, error) {
	switch {
	case force:
		return client.ForceStock(ctx, sku, counts)
	case version != "":
		return client.SetStock(ctx, sku, counts, api.Stock{Version: version})
	}
	read, err := client.Stock(ctx, sku)
	if err != nil && !api.IsProblem(err, "sku_not_found") {
		return read, err
	}
	return client.SetStock(ctx, sku, counts, read)
}

func newStockAdjust(g *Globals) *cobra.Command {
	var reason, key string
	cmd := &cobra.Command{
		Use:   "adjust SKU WAREHOUSE=+N ... --reason TEXT",
		Short: "Add to what lies in warehouses, or take away from it",
		Long: `adjust enters what came in (+N) or went out (-N) of each warehouse named, with the
reason, in the books. The same --key enters it once, however often it is sent.`,
		Example: `  quad stock adjust A1 leeds=+20 --reason "PO 17 came in"
  quad stock adjust A1 leeds=-1 --reason broken`,
		Args: cobra.ArbitraryArgs,
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, args []string) error {
			counts, err := parseCounts(args)
			if err != nil {
				return UsageError{err}
			}
			deltas := make([]api.Delta, len(counts))
			for i, c := range counts {
				deltas[i] = api.Delta{Warehouse: c.Warehouse, Delta: c.OnHand}
			}
			key := cmp.Or(key, uuid.NewString())
			stock, err := inst.Client.AdjustStock(cmd.Context(), args[0], key, reason, deltas)
			if err != nil {
				return fmt.Errorf("adjust stock of %s (repeat it with --key %s, or it may be entered twice): %w", args[0], key, err)
			}
			return PrintStock(g, stock)
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the books")
	cmd.Flags().StringVar(&key, "key", "", "idempotency key (default: a new one)")
	return cmd
}

func parseCounts(args []string) ([]api.Count, error) {
	const fewest = 2
	if len(args) < fewest {
		return nil, errors.New("name a SKU and at least one warehouse: A1 leeds=10")
	}
	var counts []api.Count
	for _, arg := range args[1:] {
		warehouse, n, _ := strings.Cut(arg, "=")
		units, err := strconv.ParseInt(n, 10, 64)
		if err != nil || warehouse == "" {
			return nil, fmt.Errorf("%q is not WAREHOUSE=N such as leeds=10", arg)
		}
		counts = append(counts, api.Count{Warehouse: warehouse, OnHand: units})
	}
	return counts, nil
}

// PrintStock prints what lies in the warehouses.
func PrintStock(g *Globals, stocks ...api.Stock) error {
	if g.JSON {
		if len(stocks) == 1 {
			return output.JSON(os.Stdout, stocks[0])
		}
		return output.JSON(os.Stdout, stocks)
	}
	t := output.NewTable("SKU", "WAREHOUSE", "ON HAND", "HELD", "AVAILABLE", "VERSION").AlignRight(2, 3, 4)
	for _, stock := range stocks {
		for _, w := range stock.Warehouses {
			t.Add(stock.SKU, w.Warehouse, output.Grouped(w.OnHand), output.Grouped(w.Held), output.Grouped(w.Available), stock.Version)
		}
	}
	t.Print(os.Stdout)
	return nil
}
