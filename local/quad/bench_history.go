package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"quadrille.internal/local/bench"
	"quadrille.internal/local/stack"
	"quadrille.internal/quad/command"
	"quadrille.internal/quad/output"
)

func newBenchHistory(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "history ORDERS",
		Short: "Add settled orders of the past to the databases, to measure with",
		Long: `history writes settled orders of the last year straight into the services' databases, so
that bench shows what a long history costs. Ten million take about 25 GB of disk and
seven minutes, and go with make clean.`,
		Example: `  quad bench history 1000000`,
		Args:    command.Exactly("number"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 1 {
				return command.UsageError{Err: fmt.Errorf("%q is no number of orders", args[0])}
			}
			return addHistory(cmd.Context(), g, n)
		},
	}
}

func addHistory(ctx context.Context, g *globals, n int) error {
	return whileUp(ctx, g, stack.Options{Usual: stack.ForOrders}, func(s *stack.Stack) error {
		live, began := newLiveLine(os.Stderr), time.Now()
		err := bench.Fill(ctx, s.OwnerURL, n, func(orders int) {
			live.show(fmt.Sprintf("history: %s of %s orders, %s", output.Grouped(orders), output.Grouped(n), output.Seconds(time.Since(began))))
		})
		live.clear()
		return err
	})
}
