package command

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quadrille.internal/events"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
	"quadrille.internal/services/customer/wire"
)

func newErasure(g *Globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "erasure",
		Short: "See and ask for the erasure of customers",
		Long: `A customer who asks to be erased is erased by each service that has the customer's id.
Open orders defer that. The list shows who is not erased yet, and which services have
not answered; the log and the table erasures of such a service say what it waits for.`,
		Args: NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newErasureList(g), writes(newErasureAsk(g)))
	return cmd
}

func newErasureList(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the customers who wait to be erased; exits 1 when one is late",
		Example: "  quad erasure list",
		Args:    NoArgs,
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, _ []string) error {
			admin := inst.Admin("customer")
			open, err := admin.Erasures(cmd.Context())
			if err != nil {
				return err
			}
			if g.JSON {
				err = output.JSON(os.Stdout, open)
			} else {
				printErasures(open)
			}
			if late := lateErasures(open, time.Now()); err == nil && late > 0 {
				return Unwell{Err: fmt.Errorf("%s not erased in time", counted(late, "customer")), Said: g.JSON}
			}
			return err
		}),
	}
}

func lateErasures(open []wire.Erasure, now time.Time) (late int) {
	for _, e := range open {
		if e.Deadline.Before(now) {
			late++
		}
	}
	return late
}

func printErasures(open []wire.Erasure) {
	if len(open) == 0 {
		fmt.Println("no customer waits to be erased")
		return
	}
	t := output.NewTable("CUSTOMER", "REQUESTED", "DEADLINE", "DATA", "NOT ANSWERED")
	for _, e := range open {
		data := "kept"
		if e.ErasedAt != nil {
			data = "deleted"
		}
		t.Add(e.CustomerID, moment(&e.RequestedAt), moment(&e.Deadline), data, strings.Join(e.WaitsFor, ", "))
	}
	t.Print(os.Stdout)
}

func newErasureAsk(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:     "ask CUSTOMER_ID",
		Short:   "Ask all services to erase a customer, also one who came back from a backup",
		Example: `  quad erasure ask 0197741f-4a00-7000-8000-00000000cafe`,
		Args:    Exactly("CUSTOMER_ID"),
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, args []string) error {
			if err := events.CheckName("CUSTOMER_ID", args[0]); err != nil {
				return UsageError{err}
			}
			admin := inst.Admin("customer")
			asked, err := admin.Erase(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if g.JSON {
				return output.JSON(os.Stdout, asked)
			}
			fmt.Printf("asked; %s to answer by %s\n", counted(len(asked.WaitsFor), "service"), moment(&asked.Deadline))
			return nil
		}),
	}
}
