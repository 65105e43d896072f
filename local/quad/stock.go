package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"quadrille.internal/local/quad/api"
)

func newStock(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stock",
		Short: "See and set what lies in the warehouses",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStockShow(g), newStockSet(g))
	return cmd
}

func newStockShow(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "show SKU",
		Short:   "Show a SKU's stock in all warehouses",
		Example: "  quad stock show A1",
		Args:    exactly("SKU"),
		RunE: g.withRunning(func(cmd *cobra.Command, r *running, args []string) error {
			stock, err := r.client.Stock(cmd.Context(), args[0])
			if err != nil {
				return fmt.Errorf("show stock of %s: %w", args[0], err)
			}
			return printStock(g, stock)
		}),
	}
}

func newStockSet(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "set SKU WAREHOUSE=N ...",
		Short: "Set what lies in warehouses",
		Long: `set puts a count of a SKU into the books of each warehouse named; the others stay as
they are. Less than orders hold is refused.`,
		Example: "  quad stock set A1 leeds=10 bristol=5",
		Args:    cobra.ArbitraryArgs,
		RunE: g.withRunning(func(cmd *cobra.Command, r *running, args []string) error {
			counts, err := parseCounts(args)
			if err != nil {
				return usageError{err}
			}
			stock, err := r.client.SetStock(cmd.Context(), args[0], counts)
			if err != nil {
				return fmt.Errorf("set stock of %s: %w", args[0], err)
			}
			return printStock(g, stock)
		}),
	}
}

func parseCounts(args []string) ([]api.Count, error) {
	const fewest = 2
	if len(args) < fewest {
		return nil, errors.New("name a SKU and at least one warehouse: quad stock set A1 leeds=10")
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

func printStock(g *globals, stocks ...api.Stock) error {
	if g.json {
		if len(stocks) == 1 {
			return printJSON(os.Stdout, stocks[0])
		}
		return printJSON(os.Stdout, stocks)
	}
	t := newTable("SKU", "WAREHOUSE", "ON HAND", "HELD", "AVAILABLE").alignRight(2, 3, 4)
	for _, stock := range stocks {
		for _, w := range stock.Warehouses {
			t.add(stock.SKU, w.Warehouse, grouped(w.OnHand), grouped(w.Held), grouped(w.Available))
		}
	}
	t.print(os.Stdout)
	return nil
}
