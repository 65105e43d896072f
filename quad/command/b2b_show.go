package command

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"quadrille.internal/platform/audit"
	"quadrille.internal/quad/api"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
	"quadrille.internal/workflows/b2b/decisionlog"
	"quadrille.internal/workflows/b2b/wire"
)

func newB2BShow(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Tell the story of a company's order, and what it waits for",
		Long: `show prints one timeline of the saga's steps, with what was tried again and undone, and
of the approvers' decisions.`,
		Example: "  quad b2b show 019aa0c2-6f0e-7d51-b1a7-1e1e4c0e9d3a",
		Args:    Exactly("ID"),
		RunE:    g.withCompanyOrder("show", (*api.Client).CompanyOrder),
	}
}

// withCompanyOrder makes a command of a call that is about one order and answers
// with it.
func (g *Globals) withCompanyOrder(verb string, do func(*api.Client, context.Context, uuid.UUID) (wire.Order, error)) func(*cobra.Command, []string) error {
	return g.with(func(cmd *cobra.Command, inst *installation.Installation, args []string) error {
		id, err := parseID("order", args[0])
		if err != nil {
			return err
		}
		order, err := do(inst.Client, cmd.Context(), id)
		if err != nil {
			return fmt.Errorf("%s order %s: %w", verb, id, err)
		}
		if g.JSON {
			return output.JSON(os.Stdout, order)
		}
		printCompanyOrder(&order)
		return nil
	})
}

func printCompanyOrder(o *wire.Order) {
	fmt.Printf("order     %s  %s\n", o.ID, PaintB2BStatus(o.Status))
	if o.Reason != nil {
		fmt.Printf("reason    %s (%s)\n", o.Reason.Message, o.Reason.Code)
	}
	if o.WaitsFor != "" {
		fmt.Printf("waits for %s%s\n", output.Paint(os.Stdout, output.Yellow, o.WaitsFor), waitingTimes(o))
	}
	fmt.Printf("company   %s, ordered by %s, %s\n", o.CompanyID, o.OrderedBy, audit.Money(o.Total))
	for _, l := range o.Lines {
		fmt.Printf("          %d x %s at %d.%02d\n", l.Quantity, l.SKU, l.UnitPrice/100, l.UnitPrice%100)
	}
	for _, a := range o.Allocations {
		fmt.Printf("from      %s: %d x %s\n", a.Warehouse, a.Quantity, a.SKU)
	}
	for _, s := range o.Backorders {
		fmt.Printf("to follow %d x %s\n", s.Requested-s.Available, s.SKU)
	}
	if o.ERPOrderID != "" {
		fmt.Printf("ERP order %s\n", o.ERPOrderID)
	}
	fmt.Println()
	t := output.NewTable("TIME", "AFTER", "WHAT", "TRIES", "DETAIL").AlignRight(1, 3)
	for _, m := range SagaMoments(o) {
		t.Add(m.At.Local().Format("2006-01-02 15:04:05.000"), "+"+m.At.Sub(o.SubmittedAt).Round(time.Millisecond).String(), m.What, m.Tries, m.Detail)
	}
	t.Print(os.Stdout)
}

func waitingTimes(o *wire.Order) (text string) {
	const layout = "2006-01-02 15:04:05"
	if o.WaitingSince != nil {
		text += " since " + o.WaitingSince.Local().Format(layout)
	}
	if o.WaitsUntil != nil {
		text += ", until " + o.WaitsUntil.Local().Format(layout)
	}
	return text
}

// SagaMoment is a line of a company order's timeline.
type SagaMoment struct {
	At     time.Time
	What   string
	Tries  string
	Detail string
}

// SagaMoments merges steps and decisions in the order of time. A step is told when
// it ended, or as far as it is.
func SagaMoments(o *wire.Order) []SagaMoment {
	moments := []SagaMoment{{At: o.SubmittedAt, What: "submitted", Detail: "by " + o.OrderedBy}}
	for _, s := range o.Steps {
		moments = append(moments, stepMoments(o, s)...)
	}
	for _, d := range o.Decisions {
		moments = append(moments, decisionMoment(d))
	}
	slices.SortStableFunc(moments, func(a, b SagaMoment) int { return a.At.Compare(b.At) })
	return moments
}

func stepMoments(o *wire.Order, s *wire.Step) []SagaMoment {
	tries := fmt.Sprint(s.Attempts)
	if s.EndedAt == nil {
		detail := "under way"
		if s.Message != "" {
			detail = output.Paint(os.Stdout, output.Red, s.Message)
		}
		return []SagaMoment{{s.StartedAt, s.Name + " begun", tries, detail}}
	}
	var moments []SagaMoment
	if s.EndedAt.Sub(s.StartedAt) > time.Millisecond {
		moments = append(moments, SagaMoment{At: s.StartedAt, What: s.Name + " begun"})
	}
	what, detail := output.Paint(os.Stdout, output.Green, s.Name), outcome(o, s.Name)
	if s.Verdict != nil && !s.Verdict.OK {
		what, detail = output.Paint(os.Stdout, output.Red, s.Name), ""
		if s.Verdict.Reason != nil {
			detail = s.Verdict.Reason.Message
		}
	}
	if s.Message != "" && (s.Verdict == nil || s.Verdict.Reason == nil || s.Verdict.Reason.Message != s.Message) {
		detail = strings.TrimSpace(detail + output.Paint(os.Stdout, output.Faint, " last failure: "+s.Message))
	}
	return append(moments, SagaMoment{*s.EndedAt, what, tries, detail})
}

// outcome tells what a step that went well came to.
func outcome(o *wire.Order, step string) string {
	switch step {
	case "credit":
		return audit.Money(o.Total) + " held"
	case "allocate":
		var parts []string
		for _, a := range o.Allocations {
			parts = append(parts, fmt.Sprintf("%d %s in %s", a.Quantity, a.SKU, a.Warehouse))
		}
		return strings.Join(parts, ", ")
	case "erp":
		return o.ERPOrderID
	default:
		return ""
	}
}

func decisionMoment(d decisionlog.Decision) SagaMoment {
	detail := d.Verdict + " by " + d.Approver
	if d.OnBehalfOf != d.Approver {
		detail += " for " + d.OnBehalfOf
	}
	if d.Reason != "" {
		detail += ": " + d.Reason
	}
	return SagaMoment{At: d.DecidedAt, What: "decision", Detail: detail}
}

// PaintB2BStatus paints the status of a company's order.
func PaintB2BStatus(status string) string {
	switch status {
	case "completed", "approved":
		return output.Paint(os.Stdout, output.Green, status)
	case "rejected", "cancelled", "failed", "expired", "compensation_failed":
		return output.Paint(os.Stdout, output.Red, status)
	default:
		return output.Paint(os.Stdout, output.Yellow, status)
	}
}
