package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"quadrille.internal/platform/audit"
	"quadrille.internal/quad/api"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
	"quadrille.internal/workflows/b2b/wire"
)

func newB2B(g *Globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "b2b",
		Short: "Orders of companies: credit, approval, stock, ERP",
		Args:  NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newCompany(g), writes(newSubmit(g)), newB2BShow(g), writes(newB2BCancel(g)),
		newApprovals(g), writes(newDecide(g, "approve")), writes(newDecide(g, "reject")),
		newStuck(g), writes(newResume(g)),
	)
	return cmd
}

func newSubmit(g *Globals) *cobra.Command {
	var skus []string
	var key string
	order := wire.NewOrder{}
	cmd := &cobra.Command{
		Use:   "submit --company ID --by PERSON --sku SKU=QUANTITY@PRICE ...",
		Short: "Submit a company's order",
		Long: `submit sends an order to b2b. A line is SKU=QUANTITY@PRICE, the price of one unit in
minor units of the company's currency (250 is 2.50). The stand-in for the ERP knows
companies whose ids begin with erp-slow-, erp-reject-, erp-fail-after-,
erp-lose-reply- and erp-cancel-fails-.`,
		Example: "  quad b2b submit --company acme --by carl --sku TEA=40@450 --backorder",
		Args:    NoArgs,
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, _ []string) error {
			lines, err := parseLines(skus)
			if err != nil {
				return UsageError{err}
			}
			order.Lines = lines
			receipt, err := inst.Client.Submit(cmd.Context(), cmp.Or(key, uuid.NewString()), order)
			if err != nil {
				return fmt.Errorf("submit the order: %w", err)
			}
			if g.JSON {
				return output.JSON(os.Stdout, receipt)
			}
			fmt.Printf("submitted order %s for %s\nfollow it: quad b2b show %[1]s\n", receipt.ID, audit.Money(receipt.Total))
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringArrayVar(&skus, "sku", nil, "a line, SKU=QUANTITY@PRICE; repeat it for more lines")
	f.StringVar(&order.CompanyID, "company", "", "who buys")
	f.StringVar(&order.OrderedBy, "by", "", "who orders; cannot approve it")
	f.BoolVar(&order.AllowBackorder, "backorder", false, "ship what there is, the rest later")
	f.StringVar(&key, "key", "", "idempotency key: the same key submits one order (default: a new one)")
	return cmd
}

func newB2BCancel(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel ID",
		Short: "Cancel a company's order, unless it is completed",
		Long: `cancel stops the order's saga at its next step, and has it undo what was done. An order
that is just being confirmed may still complete; quad b2b show tells.`,
		Example: "  quad b2b cancel 019aa0c2-6f0e-7d51-b1a7-1e1e4c0e9d3a",
		Args:    Exactly("ID"),
		RunE:    g.withCompanyOrder("cancel", (*api.Client).CancelCompanyOrder),
	}
}

func newResume(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "resume ID",
		Short: "Try a compensation that kept failing once more",
		Long: `resume is for orders that are compensation_failed: what was done for them could not be
undone. Mend the cause first; quad b2b stuck names it.`,
		Example: "  quad b2b resume 019aa0c2-6f0e-7d51-b1a7-1e1e4c0e9d3a",
		Args:    Exactly("ID"),
		RunE:    g.withCompanyOrder("resume", (*api.Client).Resume),
	}
}

func newApprovals(g *Globals) *cobra.Command {
	var approver string
	var most int
	cmd := &cobra.Command{
		Use:   "approvals [--approver ID]",
		Short: "List the orders that wait for an approver, soonest to expire first",
		Long: `approvals lists what waits for the person who signed in with quad login or, with
--approver, what waits for anybody: that needs b2b's admin port.`,
		Example: "  quad b2b approvals\n  quad b2b approvals --approver alice",
		Args:    NoArgs,
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, _ []string) error {
			pending, err := approvalsOf(cmd.Context(), inst, approver, most)
			if err != nil {
				return fmt.Errorf("list what waits for %s: %w", cmp.Or(approver, "you"), err)
			}
			if g.JSON {
				return output.JSON(os.Stdout, pending)
			}
			printApprovals(cmp.Or(approver, "you"), pending)
			return nil
		}),
	}
	cmd.Flags().StringVar(&approver, "approver", "", "whose queue, as an operator (default: that of who signed in)")
	cmd.Flags().IntVar(&most, "most", 0, "list no more than these (default: all)")
	return cmd
}

// approvalsOf asks as an operator where an approver is named.
func approvalsOf(ctx context.Context, inst *installation.Installation, approver string, most int) ([]wire.Pending, error) {
	if approver != "" {
		return inst.Client.Approvals(ctx, approver, most)
	}
	person, err := inst.Person(ctx)
	if err != nil {
		return nil, err
	}
	return person.Approvals(ctx, most)
}

func printApprovals(approver string, pending []wire.Pending) {
	if len(pending) == 0 {
		fmt.Printf("nothing waits for %s\n", approver)
		return
	}
	t := output.NewTable("ORDER", "COMPANY", "BY", "TOTAL", "CREDIT LEFT", "GIVEN", "EXPIRES", "ON APPROVE").AlignRight(3, 4)
	for _, p := range pending {
		left := p.Total
		left.Amount = p.CreditLeft
		then := p.OnApprove
		if p.OnBehalfOf != "" {
			then += " (for " + p.OnBehalfOf + ")"
		}
		t.Add(p.OrderID, p.CompanyID, p.OrderedBy, audit.Money(p.Total), audit.Money(left),
			fmt.Sprintf("%d of %d", p.Given, p.Need), p.ExpiresAt.Local().Format("2006-01-02 15:04:05"), then)
	}
	t.Print(os.Stdout)
}

// newDecide is the command approve or reject.
func newDecide(g *Globals, decision string) *cobra.Command {
	vote := wire.Vote{Decision: decision}
	cmd := &cobra.Command{
		Use:   decision + " ID [--by APPROVER]",
		Short: map[string]string{"approve": "Approve an order", "reject": "Reject an order, with a reason"}[decision],
		Long: "The person who signed in with quad login decides. " + `With --by an operator decides in the
name of an approver instead, by an access token that identity's admin port gives;
who is signed in does not matter then.`,
		Example: "  quad b2b " + decision + " 019aa0c2-6f0e-7d51-b1a7-1e1e4c0e9d3a --reason 'as agreed'\n" +
			"  quad b2b " + decision + " 019aa0c2-6f0e-7d51-b1a7-1e1e4c0e9d3a --by alice --reason 'as agreed'",
		Args: Exactly("ID"),
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, args []string) error {
			id, err := parseID("order", args[0])
			if err != nil {
				return err
			}
			poll, err := decide(cmd.Context(), inst, id, vote)
			if err != nil {
				return fmt.Errorf("%s order %s: %w", decision, id, err)
			}
			if g.JSON {
				return output.JSON(os.Stdout, poll)
			}
			if poll.State == "open" {
				fmt.Printf("recorded; order %s has %d of %d approvals\n", id, len(poll.Decisions), poll.Need)
				return nil
			}
			fmt.Printf("order %s is %s\n", id, PaintB2BStatus(poll.State))
			return nil
		}),
	}
	cmd.Flags().StringVar(&vote.Approver, "by", "", "decide in this approver's name, as an operator (default: as who signed in)")
	cmd.Flags().StringVar(&vote.Reason, "reason", "", "why; required to reject")
	return cmd
}

// decide is an operator's where an approver is named.
func decide(ctx context.Context, inst *installation.Installation, id uuid.UUID, vote wire.Vote) (wire.Poll, error) {
	if vote.Approver != "" {
		return inst.Client.Decide(ctx, id, vote)
	}
	person, err := inst.Person(ctx)
	if err != nil {
		return wire.Poll{}, err
	}
	return person.Decide(ctx, id, vote)
}

func newStuck(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "stuck",
		Short: "List orders whose step takes longer than it should, and why; exits 1 when there are any",
		Args:  NoArgs,
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, _ []string) error {
			stuck, err := inst.Client.StuckOrders(cmd.Context())
			if err != nil {
				return fmt.Errorf("list stuck orders: %w", err)
			}
			if g.JSON {
				err = output.JSON(os.Stdout, stuck)
			} else {
				printStuck(stuck)
			}
			if err == nil && len(stuck) > 0 {
				return Unwell{Err: errors.New("orders are stuck"), Said: true}
			}
			return err
		}),
	}
}

func printStuck(stuck []wire.Stuck) {
	if len(stuck) == 0 {
		fmt.Println("nothing is stuck")
		return
	}
	t := output.NewTable("ORDER", "STATUS", "SINCE", "WHY")
	for _, s := range stuck {
		t.Add(s.OrderID, PaintB2BStatus(s.Status), s.Since.Local().Format("2006-01-02 15:04:05"), firstLine(s.Why))
	}
	t.Print(os.Stdout)
}
