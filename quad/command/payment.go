package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"quadrille.internal/events"
	"quadrille.internal/platform/audit"
	"quadrille.internal/quad/api"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
	"quadrille.internal/services/payment/wire"
)

func newPayment(g *Globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "payment",
		Short: "See and resume payments that the provider refuses",
		Long: `A payment that the provider refuses, for another reason than the customer's means of
payment, waits for an operator until its order's reservation expires; the order is
then cancelled. Mend the cause (the account at the provider, most of the time), then
resume it.`,
		Args: NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPaymentList(g), newPaymentShow(g), writes(newPaymentResume(g)))
	return cmd
}

func newPaymentList(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the payments that the provider refuses; exits 1 when there are any",
		Example: "  quad payment list",
		Args:    NoArgs,
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, _ []string) error {
			admin := inst.Admin("payment")
			refused, err := admin.RefusedPayments(cmd.Context())
			if err != nil {
				return err
			}
			if g.JSON {
				err = output.JSON(os.Stdout, refused)
			} else {
				printRefused(refused)
			}
			if err == nil && len(refused) > 0 {
				return Unwell{Err: errors.New("payments are refused"), Said: true}
			}
			return err
		}),
	}
}

func printRefused(refused []wire.Payment) {
	if len(refused) == 0 {
		fmt.Println("no payment is refused")
		return
	}
	t := output.NewTable("ORDER", "AMOUNT", "REFUSED", "TRIES", "WHAT", "CAUSE").AlignRight(1, 3)
	for _, p := range refused {
		what := "charge"
		if p.ChargeID != "" {
			what = "refund"
		}
		t.Add(p.OrderID, amountOf(p), moment(p.RefusedAt), p.Attempts, what, firstLine(p.LastError))
	}
	t.Print(os.Stdout)
}

func amountOf(p wire.Payment) string {
	return audit.Money(events.Money{Amount: p.Amount, Currency: p.Currency})
}

func moment(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

func newPaymentShow(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:     "show ORDER_ID",
		Short:   "Show the payment of an order",
		Example: "  quad payment show 019aa0c2-6f0e-7d51-b1a7-1e1e4c0e9d3a",
		Args:    Exactly("ORDER_ID"),
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, args []string) error {
			id, err := parseID("order", args[0])
			if err != nil {
				return err
			}
			admin := inst.Admin("payment")
			p, err := admin.Payment(cmd.Context(), id)
			if err != nil {
				return err
			}
			if g.JSON {
				return output.JSON(os.Stdout, p)
			}
			printPayment(p)
			return nil
		}),
	}
}

func printPayment(p wire.Payment) {
	fmt.Printf("order      %s\n", p.OrderID)
	fmt.Printf("payment    %s, %s\n", p.Status, amountOf(p))
	for _, line := range []struct{ name, text string }{
		{"charge", p.ChargeID}, {"refund", p.RefundID},
		{"requested", moment(p.RequestedAt)}, {"sent", moment(p.SentAt)}, {"charged", moment(p.CompletedAt)},
		{"refused", moment(p.RefusedAt)}, {"due", moment(p.DueAt)}, {"ended", moment(p.EndedAt)},
	} {
		if line.text != "" {
			fmt.Printf("%-10s %s\n", line.name, line.text)
		}
	}
	if p.LastError != "" {
		fmt.Printf("%-10s %s (%s)\n", "last error", output.Paint(os.Stdout, output.Red, p.LastError), counted(p.Attempts, "attempt"))
	}
}

func newPaymentResume(g *Globals) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "resume ORDER_ID | --all",
		Short: "Ask the provider once more for what it refused",
		Example: `  quad payment resume 019aa0c2-6f0e-7d51-b1a7-1e1e4c0e9d3a
  quad payment resume --all`,
		Args: cobra.ArbitraryArgs,
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, args []string) error {
			if all == (len(args) == 1) || len(args) > 1 {
				return UsageError{errors.New("name one order, or --all: quad payment resume ORDER_ID")}
			}
			admin := inst.Admin("payment")
			ids, err := toResume(cmd.Context(), admin, args)
			if err != nil {
				return err
			}
			return resumePayments(cmd.Context(), g, admin, ids, all)
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "all refused payments")
	return cmd
}

// toResume lists the orders that are named, or all whose payment is refused.
func toResume(ctx context.Context, admin *api.Admin, args []string) ([]uuid.UUID, error) {
	if len(args) == 1 {
		id, err := parseID("order", args[0])
		return []uuid.UUID{id}, err
	}
	refused, err := admin.RefusedPayments(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]uuid.UUID, len(refused))
	for i, p := range refused {
		ids[i] = p.OrderID
	}
	return ids, nil
}

// resumePayments resumes payments; of many, some may have ended meanwhile.
func resumePayments(ctx context.Context, g *Globals, admin *api.Admin, ids []uuid.UUID, many bool) error {
	resumed, left := []wire.Payment{}, 0
	for _, id := range ids {
		p, err := admin.ResumePayment(ctx, id)
		if many && api.IsProblem(err, "not_resumable") {
			left++
			continue
		}
		if err != nil {
			return errors.Join(reportResumed(g, resumed), fmt.Errorf("resume the payment of order %s: %w", id, err))
		}
		resumed = append(resumed, p)
	}
	err := reportResumed(g, resumed)
	if err == nil && left > 0 {
		err = Unwell{Err: fmt.Errorf("%s cannot be resumed: ended meanwhile, or the means of payment is forgotten", counted(left, "payment"))}
	}
	return err
}

func reportResumed(g *Globals, resumed []wire.Payment) error {
	if g.JSON {
		return output.JSON(os.Stdout, resumed)
	}
	fmt.Printf("resumed %s\n", counted(len(resumed), "payment"))
	return nil
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
