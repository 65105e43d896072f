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
	"quadrille.internal/quad/timeline"
)

func newOrder(g *Globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "order",
		Short: "Place orders and see what became of them",
		Args:  NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(writes(newOrderPlace(g)), newOrderShow(g), newOrderWatch(g), writes(newOrderCancel(g)), newOrderList(g))
	return cmd
}

func newOrderShow(g *Globals) *cobra.Command {
	var trace bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Tell an order's story over all services",
		Long: `show merges what every service's database says of an order into one timeline:
who did what when, what was tried again, what is parked, and what it waits for.

With --trace it draws the order's trace instead, each step below its cause, with how long
after the first it began and how long it took. A local stack keeps traces when it was
started with quad up --trace.`,
		Example: "  quad order show 019aa0c2-6f0e-7d51-b1a7-1e1e4c0e9d3a --trace",
		Args:    Exactly("ID"),
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, args []string) error {
			id, err := parseID("order", args[0])
			if err != nil {
				return err
			}
			books, err := TimelineSources(cmd.Context(), inst)
			if err != nil {
				return err
			}
			t, err := timeline.Read(cmd.Context(), books, id)
			if err != nil {
				return advise(err)
			}
			if trace {
				return showTrace(cmd.Context(), g, inst, t.TraceID)
			}
			if g.JSON {
				return output.JSON(os.Stdout, t)
			}
			printTimeline(t)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&trace, "trace", false, "draw the order's trace")
	return cmd
}

func showTrace(ctx context.Context, g *Globals, inst *installation.Installation, traceID string) error {
	tree, err := readTrace(ctx, inst, traceID)
	if err != nil {
		return fmt.Errorf("trace %s: %w", traceID, err)
	}
	if g.JSON {
		return output.JSON(os.Stdout, tree)
	}
	fmt.Printf("trace %s\n\n", traceID)
	printTrace(tree)
	return nil
}

func advise(err error) error {
	if errors.Is(err, timeline.ErrUnknown) {
		return fmt.Errorf("%w; check the id (quad order list --customer C1)", err)
	}
	return err
}

func printTimeline(t *timeline.Timeline) {
	fmt.Printf("order     %s  %s\n", t.ID, PaintStatus(t.Status))
	if t.Reason != nil && t.Status == "cancelled" {
		fmt.Printf("reason    %s (%s)\n", t.Reason.Message, t.Reason.Code)
	}
	if t.WaitsFor != "" {
		fmt.Printf("waits for %s\n", output.Paint(os.Stdout, output.Yellow, t.WaitsFor))
	}
	fmt.Printf("customer  %s, %s\n", t.Customer, audit.Money(t.Total))
	for i, l := range t.Lines {
		const most = 10
		if i == most {
			fmt.Printf("          and %d more lines\n", len(t.Lines)-most)
			break
		}
		fmt.Printf("          %d x %s at %d.%02d\n", l.Quantity, l.SKU, l.UnitPrice/100, l.UnitPrice%100)
	}
	for _, a := range t.Adjustments {
		fmt.Printf("          %s takes off %s\n", a.Name, audit.Money(events.Money{Amount: -a.Amount, Currency: t.Total.Currency}))
	}
	for _, part := range []struct {
		name   string
		amount int64
	}{{"shipping", t.Shipping}, {"tax", t.Tax}} {
		if part.amount > 0 {
			fmt.Printf("          %s %s\n", part.name, audit.Money(events.Money{Amount: part.amount, Currency: t.Total.Currency}))
		}
	}
	fmt.Printf("trace     %s\n\n", t.TraceID)

	moments := output.NewTable("TIME", "AFTER", "SERVICE", "WHAT", "DETAIL").AlignRight(1)
	for _, m := range t.Moments {
		moments.Add(m.At.Local().Format("15:04:05.000"), after(t, m), m.Service, PaintMoment(m), m.Detail)
	}
	moments.Print(os.Stdout)
}

// after is how long after the first moment of an order another came.
func after(t *timeline.Timeline, m timeline.Moment) string {
	d := m.At.Sub(t.Moments[0].At)
	if d < 10*time.Second {
		return fmt.Sprintf("+%d ms", d.Milliseconds())
	}
	return "+" + d.Round(time.Second).String()
}

// PaintStatus paints the status of an order.
func PaintStatus(status string) string {
	switch status {
	case "confirmed":
		return output.Paint(os.Stdout, output.Green, status)
	case "cancelled":
		return output.Paint(os.Stdout, output.Red, status)
	default:
		return output.Paint(os.Stdout, output.Yellow, status)
	}
}

// PaintMoment paints what happened. It pads, so that live lines stand in columns too.
func PaintMoment(m timeline.Moment) string {
	what := fmt.Sprintf("%-15s", m.What)
	switch {
	case m.Bad:
		return output.Paint(os.Stdout, output.Red, what)
	case m.What == "CONFIRMED":
		return output.Paint(os.Stdout, output.Green, what)
	default:
		return what
	}
}

func newOrderCancel(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel ID",
		Short: "Cancel an order, unless it is confirmed already",
		Long: `cancel asks the order service, which decides at once: when this returns 0 the order
is cancelled and its stock and money are on their way back; when it returns 1 the
order is confirmed and stays so.`,
		Example: "  quad order cancel 019aa0c2-6f0e-7d51-b1a7-1e1e4c0e9d3a",
		Args:    Exactly("ID"),
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, args []string) error {
			id, err := parseID("order", args[0])
			if err != nil {
				return err
			}
			order, err := cancelOrder(cmd.Context(), inst.Client, id)
			if err != nil {
				return fmt.Errorf("cancel order %s: %w", id, err)
			}
			if g.JSON {
				return output.JSON(os.Stdout, order)
			}
			fmt.Printf("order %s is %s: %s\n", id, PaintStatus(order.Status), order.Reason.Message)
			return nil
		}),
	}
}

// knownWithin is how long the order service may take to hear of an order that was
// just placed.
const knownWithin = 5 * time.Second

// cancelOrder also cancels an order placed a moment ago.
func cancelOrder(ctx context.Context, client *api.Client, id uuid.UUID) (order api.Order, err error) {
	deadline := time.Now().Add(knownWithin)
	for {
		order, err = client.Cancel(ctx, id)
		if !api.IsProblem(err, "order_not_found") || time.Now().After(deadline) || !recent(id) {
			return order, err
		}
		select {
		case <-ctx.Done():
			return order, ctx.Err()
		case <-time.After(watchEvery):
		}
	}
}

// recent reports whether an id of version 7, which holds its time, is new.
func recent(id uuid.UUID) bool {
	seconds, nanos := id.Time().UnixTime()
	return id.Version() == 7 && time.Since(time.Unix(seconds, nanos)) < knownWithin
}

func newOrderList(g *Globals) *cobra.Command {
	var customer string
	var limit int
	cmd := &cobra.Command{
		Use:     "list --customer ID",
		Short:   "List a customer's orders, the newest first",
		Example: "  quad order list --customer c1 --limit 20",
		Args:    NoArgs,
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, _ []string) error {
			if customer == "" || limit < 1 {
				return UsageError{errors.New("say whose orders, and how many: --customer c1 --limit 50")}
			}
			orders, err := inst.Client.Orders(cmd.Context(), customer, limit)
			if err != nil {
				return fmt.Errorf("list the orders of %s: %w", customer, err)
			}
			if g.JSON {
				return output.JSON(os.Stdout, orders)
			}
			printOrders(customer, orders)
			return nil
		}),
	}
	cmd.Flags().StringVar(&customer, "customer", "", "whose orders")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most")
	return cmd
}

func printOrders(customer string, orders []api.Order) {
	if len(orders) == 0 {
		fmt.Printf("customer %s has no orders\n", customer)
		return
	}
	list := output.NewTable("ORDER", "PLACED", "STATUS", "LINES", "TOTAL", "WHY").AlignRight(3, 4)
	for _, o := range orders {
		why := ""
		if o.Reason != nil {
			why = o.Reason.Message
		} else if o.WaitsFor != "" {
			why = "waits for " + o.WaitsFor
		}
		placed := ""
		if len(o.Timeline) > 0 {
			placed = o.Timeline[0].At.Local().Format("2006-01-02 15:04:05")
		}
		list.Add(o.ID, placed, PaintStatus(o.Status), len(o.Lines), audit.Money(o.Total), why)
	}
	list.Print(os.Stdout)
}
