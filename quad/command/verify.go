package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"quadrille.internal/quad/books"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
	"quadrille.internal/quad/timeline"
	"quadrille.internal/quad/verify"
)

func newVerify(g *Globals) *cobra.Command {
	var settle time.Duration
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove from all databases and the provider's ledger that the books balance",
		Long: `verify compares what the services, the payment provider and the ERP say of every order and
every SKU, of quotes, vouchers, companies' credit and erased customers. What is merely on
its way is no fault: an order is read again before it is reported. Exits 1 with the
offenders if a rule is broken.`,
		Example: `  quad verify
  quad verify --settle 30s
  quad verify --json | jq '.checks[] | select(.offenders)'`,
		Args: NoArgs,
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, _ []string) error {
			return ProveBooks(cmd.Context(), g, inst, settle)
		}),
	}
	cmd.Flags().DurationVar(&settle, "settle", 0, "first wait as long as this until nothing is under way")
	return cmd
}

// TimelineSources are the databases that tell an order's story.
func TimelineSources(ctx context.Context, inst *installation.Installation) (src timeline.Sources, err error) {
	books, err := inst.Databases(ctx)
	if err != nil {
		return src, err
	}
	return timeline.Sources{Databases: books}, nil
}

// VerifySources are the books of all services and of the third parties.
func VerifySources(ctx context.Context, inst *installation.Installation) (src verify.Sources, err error) {
	books, err := inst.Databases(ctx)
	if err != nil {
		return src, err
	}
	src.Databases = books
	if src.Provider, err = inst.Ledger(); err != nil || books["b2b"] == nil {
		return src, err
	}
	src.ERP, err = inst.ERPBooks()
	return src, err
}

// ProveBooks prints what quad verify finds, and fails if the books do not balance.
func ProveBooks(ctx context.Context, g *Globals, inst *installation.Installation, settle time.Duration) error {
	sources, err := VerifySources(ctx, inst)
	if err != nil {
		return err
	}
	for _, note := range unproven(inst.Name, books.All(), inst.WithDatabase()) {
		fmt.Fprintln(os.Stderr, output.Paint(os.Stderr, output.Yellow, note))
	}
	sources.Settle = settle
	report, err := verify.Run(ctx, sources)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if g.JSON {
		err = output.JSON(os.Stdout, report)
	} else {
		printReport(&report, settle)
	}
	if err == nil && !report.OK() {
		return Unwell{Err: errors.New("the books do not balance"), Said: true}
	}
	return err
}

// unproven says of which services the rules are not checked: those that the context leaves
// out, and those that this program does not know.
func unproven(name string, known []books.Service, have []string) (notes []string) {
	for _, service := range known {
		if !slices.Contains(have, service.Name) {
			notes = append(notes, fmt.Sprintf("not proven: the books of %s, which is not in context %s", service.Name, name))
		}
	}
	for _, service := range have {
		if !slices.ContainsFunc(known, func(s books.Service) bool { return s.Name == service }) {
			notes = append(notes, fmt.Sprintf("not proven: the rules of %s, which this quad does not know", service))
		}
	}
	return notes
}

func printReport(report *verify.Report, settle time.Duration) {
	t := output.NewTable("", "CHECKED", "", "RULE").AlignRight(1)
	for _, c := range report.Checks {
		mark := output.Paint(os.Stdout, output.Green, "ok")
		if len(c.Offenders) > 0 {
			mark = output.Paint(os.Stdout, output.Red, "FAULT")
		}
		t.Add(mark, output.Grouped(c.Checked), c.Unit, c.Name)
	}
	t.Print(os.Stdout)
	for _, c := range report.Checks {
		printOffenders(c.Name, c.Offenders, output.Red)
	}
	printOffenders("under way for long, but explained", report.Waiting, output.Yellow)
	if settle > 0 && !report.Quiet {
		fmt.Printf("\n%s\n", output.Paint(os.Stdout, output.Yellow, fmt.Sprintf("not everything had settled within %s", settle)))
	}
	verdict := output.Paint(os.Stdout, output.Green, "the books balance")
	if !report.OK() {
		verdict = output.Paint(os.Stdout, output.Red, "the books do not balance")
	}
	fmt.Printf("\n%s%s\n", verdict, output.Paint(os.Stdout, output.Faint, "  (read in "+output.Seconds(report.Took)+")"))
}

func printOffenders(title string, offenders []verify.Offender, colour string) {
	const most = 10
	if len(offenders) == 0 {
		return
	}
	fmt.Printf("\n%s\n", output.Paint(os.Stdout, colour, title+":"))
	for i, o := range offenders {
		if i == most {
			fmt.Printf("  and %d more (--json lists all)\n", len(offenders)-most)
			return
		}
		fmt.Printf("  %s  %s\n", o.ID, o.Problem)
	}
}
