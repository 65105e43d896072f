package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"quadrille.internal/quad/verify"
)

func newVerify(g *globals) *cobra.Command {
	var settle time.Duration
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove from all databases and the provider's ledger that the books balance",
		Long: `verify compares what checkout, inventory, payment, order and the payment provider say
of every order and every SKU. What is merely on its way is no fault: an order is read
again before it is reported. Exits 1 with the offenders if a rule is broken.`,
		Example: `  quad verify
  quad verify --settle 30s
  quad verify --json | jq '.checks[] | select(.offenders)'`,
		Args: noArgs,
		RunE: g.withRunning(func(cmd *cobra.Command, r *running, _ []string) error {
			return proveBooks(cmd.Context(), g, r, settle)
		}),
	}
	cmd.Flags().DurationVar(&settle, "settle", 0, "first wait as long as this until nothing is under way")
	return cmd
}

func proveBooks(ctx context.Context, g *globals, r *running, settle time.Duration) error {
	report, err := verify.Run(ctx, r.verifySources(settle))
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if g.json {
		err = printJSON(os.Stdout, report)
	} else {
		printReport(&report, settle)
	}
	if err == nil && !report.OK() {
		return unwell{error: errors.New("the books do not balance"), said: true}
	}
	return err
}

func printReport(report *verify.Report, settle time.Duration) {
	t := newTable("", "CHECKED", "", "RULE").alignRight(1)
	for _, c := range report.Checks {
		mark := paint(os.Stdout, green, "ok")
		if len(c.Offenders) > 0 {
			mark = paint(os.Stdout, red, "FAULT")
		}
		t.add(mark, grouped(c.Checked), c.Unit, c.Name)
	}
	t.print(os.Stdout)
	for _, c := range report.Checks {
		printOffenders(c.Name, c.Offenders, red)
	}
	printOffenders("under way for long, but explained", report.Waiting, yellow)
	if settle > 0 && !report.Quiet {
		fmt.Printf("\n%s\n", paint(os.Stdout, yellow, fmt.Sprintf("not everything had settled within %s", settle)))
	}
	verdict := paint(os.Stdout, green, "the books balance")
	if !report.OK() {
		verdict = paint(os.Stdout, red, "the books do not balance")
	}
	fmt.Printf("\n%s%s\n", verdict, paint(os.Stdout, faint, "  (read in "+seconds(report.Took)+")"))
}

func printOffenders(title string, offenders []verify.Offender, colour string) {
	const most = 10
	if len(offenders) == 0 {
		return
	}
	fmt.Printf("\n%s\n", paint(os.Stdout, colour, title+":"))
	for i, o := range offenders {
		if i == most {
			fmt.Printf("  and %d more (--json lists all)\n", len(offenders)-most)
			return
		}
		fmt.Printf("  %s  %s\n", o.ID, o.Problem)
	}
}
