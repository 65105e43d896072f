package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"quadrille.internal/quad/api"
	"quadrille.internal/quad/timeline"
	"quadrille.internal/workflows/b2b/chain"
	"quadrille.internal/workflows/b2b/wire"
)

func newB2BShow(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Tell the story of a company's order, and what it waits for",
		Long: `show prints one timeline of the saga's steps, with what was tried again and undone, and
of the approvers' decisions.`,
		Example: "  quad b2b show 019aa0c2-6f0e-7d51-b1a7-1e1e4c0e9d3a",
		Args:    exactly("ID"),
		RunE:    g.withCompanyOrder("show", (*api.Client).CompanyOrder),
	}
}

// withCompanyOrder makes a command of a call that is about one order and answers
// with it.
func (g *globals) withCompanyOrder(verb string, do func(*api.Client, context.Context, uuid.UUID) (wire.Order, error)) func(*cobra.Command, []string) error {
	return g.withRunning(func(cmd *cobra.Command, r *running, args []string) error {
		id, err := parseID("order", args[0])
		if err != nil {
			return err
		}
		order, err := do(r.client, cmd.Context(), id)
		if err != nil {
			return fmt.Errorf("%s order %s: %w", verb, id, err)
		}
		if g.json {
			return printJSON(os.Stdout, order)
		}
		printCompanyOrder(&order)
		return nil
	})
}

func printCompanyOrder(o *wire.Order) {
	fmt.Printf("order     %s  %s\n", o.ID, paintB2BStatus(o.Status))
	if o.Reason != nil {
		fmt.Printf("reason    %s (%s)\n", o.Reason.Message, o.Reason.Code)
	}
	if o.WaitsFor != "" {
		fmt.Printf("waits for %s%s\n", paint(os.Stdout, yellow, o.WaitsFor), waitingTimes(o))
	}
	fmt.Printf("company   %s, ordered by %s, %s\n", o.CompanyID, o.OrderedBy, timeline.Money(o.Total))
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
	t := newTable("TIME", "AFTER", "WHAT", "TRIES", "DETAIL").alignRight(1, 3)
	for _, m := range sagaMoments(o) {
		t.add(m.at.Local().Format("2006-01-02 15:04:05.000"), "+"+m.at.Sub(o.SubmittedAt).Round(time.Millisecond).String(), m.what, m.tries, m.detail)
	}
	t.print(os.Stdout)
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

// sagaMoment is a line of a company order's timeline.
type sagaMoment struct {
	at     time.Time
	what   string
	tries  string
	detail string
}

// sagaMoments merges steps and decisions in the order of time. A step is told when
// it ended, or as far as it is.
func sagaMoments(o *wire.Order) []sagaMoment {
	moments := []sagaMoment{{at: o.SubmittedAt, what: "submitted", detail: "by " + o.OrderedBy}}
	for _, s := range o.Steps {
		moments = append(moments, stepMoments(o, s)...)
	}
	for _, d := range o.Decisions {
		moments = append(moments, decisionMoment(d))
	}
	slices.SortStableFunc(moments, func(a, b sagaMoment) int { return a.at.Compare(b.at) })
	return moments
}

func stepMoments(o *wire.Order, s *wire.Step) []sagaMoment {
	tries := fmt.Sprint(s.Attempts)
	if s.EndedAt == nil {
		detail := "under way"
		if s.Message != "" {
			detail = paint(os.Stdout, red, s.Message)
		}
		return []sagaMoment{{s.StartedAt, s.Name + " begun", tries, detail}}
	}
	var moments []sagaMoment
	if s.EndedAt.Sub(s.StartedAt) > time.Millisecond {
		moments = append(moments, sagaMoment{at: s.StartedAt, what: s.Name + " begun"})
	}
	what, detail := paint(os.Stdout, green, s.Name), outcome(o, s.Name)
	if s.Verdict != nil && !s.Verdict.OK {
		what, detail = paint(os.Stdout, red, s.Name), ""
		if s.Verdict.Reason != nil {
			detail = s.Verdict.Reason.Message
		}
	}
	if s.Message != "" && (s.Verdict == nil || s.Verdict.Reason == nil || s.Verdict.Reason.Message != s.Message) {
		detail = strings.TrimSpace(detail + paint(os.Stdout, faint, " last failure: "+s.Message))
	}
	return append(moments, sagaMoment{*s.EndedAt, what, tries, detail})
}

// outcome tells what a step that went well came to.
func outcome(o *wire.Order, step string) string {
	switch step {
	case "credit":
		return timeline.Money(o.Total) + " held"
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

func decisionMoment(d chain.Decision) sagaMoment {
	detail := d.Verdict + " by " + d.Approver
	if d.OnBehalfOf != d.Approver {
		detail += " for " + d.OnBehalfOf
	}
	if d.Reason != "" {
		detail += ": " + d.Reason
	}
	return sagaMoment{at: d.DecidedAt, what: "decision", detail: detail}
}

func paintB2BStatus(status string) string {
	switch status {
	case "completed", "approved":
		return paint(os.Stdout, green, status)
	case "rejected", "cancelled", "failed", "expired", "compensation_failed":
		return paint(os.Stdout, red, status)
	default:
		return paint(os.Stdout, yellow, status)
	}
}
