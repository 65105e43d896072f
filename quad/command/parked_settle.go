package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"quadrille.internal/quad/api"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
)

// settled is what became of one parked event.
type settled struct {
	Service string    `json:"service"`
	EventID uuid.UUID `json:"event_id"`
	OK      bool      `json:"ok"`
	Cause   string    `json:"cause,omitempty"`
}

// settling says in words what a command does with parked events.
type settling struct{ done, not, failed string }

func newParkedReplay(g *Globals) *cobra.Command {
	var service string
	var all bool
	cmd := &cobra.Command{
		Use:   "replay ID | --all [--service S]",
		Short: "Handle parked events once more; exits 1 when one fails again",
		Example: `  quad parked replay 019aa0c2-6f0e-7d51-b1a7-1e1e4c0e9d3a
  quad parked replay --all --service order`,
		Args: cobra.ArbitraryArgs,
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, args []string) error {
			return settleParked(cmd.Context(), g, inst, args, all, service,
				settling{done: "handled", not: "parked again", failed: "failed again"},
				func(admin *api.Admin, p api.Parked) error { return admin.Replay(cmd.Context(), p.EventID) })
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "all parked events, oldest first")
	cmd.Flags().StringVar(&service, "service", "", "with --all: of this service only")
	return cmd
}

// eachParked calls do for the event that args name, or for all that were parked when
// it began, however many. One that fails again keeps its place and is not met twice.
func eachParked(ctx context.Context, inst *installation.Installation, args []string, all bool, service string, do func(*api.Admin, api.Parked)) error {
	if all == (len(args) == 1) || len(args) > 1 {
		return UsageError{errors.New("name one event, or --all")}
	}
	names, admins, err := selectAdmins(inst, service)
	if err != nil {
		return err
	}
	if !all {
		id, err := parseID("event", args[0])
		if err != nil {
			return err
		}
		found, err := findParked(ctx, inst, id)
		for _, p := range found {
			if admin := admins[p.Consumer]; admin != nil {
				do(admin, p)
			}
		}
		return err
	}
	for _, name := range names {
		for after := ""; ; {
			page, err := admins[name].Parked(ctx, after, replayedPage)
			if err != nil {
				return fmt.Errorf("list the parked events of %s: %w", name, err)
			}
			for _, p := range page.Parked {
				do(admins[name], p)
			}
			if after = page.Next; after == "" {
				break
			}
		}
	}
	return nil
}

// settleParked does something with the event that args name, or with all that are
// parked, and reports what became of each.
func settleParked(ctx context.Context, g *Globals, inst *installation.Installation, args []string, all bool, service string,
	words settling, do func(*api.Admin, api.Parked) error) error {
	outcomes := []settled{}
	err := eachParked(ctx, inst, args, all, service, func(admin *api.Admin, p api.Parked) {
		outcome := settled{Service: p.Consumer, EventID: p.EventID, OK: true}
		if err := do(admin, p); err != nil {
			outcome.OK, outcome.Cause = false, err.Error()
		}
		outcomes = append(outcomes, outcome)
	})
	if err != nil && len(outcomes) == 0 {
		return err
	}
	return errors.Join(reportSettled(g, outcomes, words), err)
}

func reportSettled(g *Globals, outcomes []settled, words settling) error {
	failed := 0
	t := output.NewTable("SERVICE", "EVENT", "OUTCOME")
	for _, o := range outcomes {
		outcome := output.Paint(os.Stdout, output.Green, words.done)
		if !o.OK {
			failed++
			outcome = output.Paint(os.Stdout, output.Red, words.not+": "+firstLine(o.Cause))
		}
		t.Add(o.Service, o.EventID, outcome)
	}
	switch {
	case g.JSON:
		if err := output.JSON(os.Stdout, outcomes); err != nil {
			return err
		}
	case len(outcomes) == 0:
		fmt.Println("nothing is parked")
	default:
		t.Print(os.Stdout)
	}
	if failed > 0 {
		return Unwell{Err: fmt.Errorf("%d of %d events %s", failed, len(outcomes), words.failed), Said: true}
	}
	return nil
}

func newParkedDiscard(g *Globals) *cobra.Command {
	var service, reason, by string
	var all bool
	cmd := &cobra.Command{
		Use:   "discard ID | --all [--service S] --reason WHY",
		Short: "Give parked events up; they are kept with the reason and your name",
		Example: `  quad parked discard 019aa0c2-6f0e-7d51-b1a7-1e1e4c0e9d3a --reason "sent by a test"
  quad parked discard --all --service order --reason "rubbish of a partner, ticket 17"`,
		Args: cobra.ArbitraryArgs,
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, args []string) error {
			if reason == "" {
				return UsageError{errors.New("say why: --reason")}
			}
			return settleParked(cmd.Context(), g, inst, args, all, service,
				settling{done: "discarded", not: "still parked", failed: "could not be discarded"},
				func(admin *api.Admin, p api.Parked) error {
					return admin.Discard(cmd.Context(), p.EventID, by, reason)
				})
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "all parked events")
	cmd.Flags().StringVar(&service, "service", "", "of this service only")
	cmd.Flags().StringVar(&reason, "reason", "", "why; it is kept")
	cmd.Flags().StringVar(&by, "by", userName(), "who; it is kept")
	return cmd
}

func userName() string {
	u, err := user.Current()
	if err != nil {
		return "unknown"
	}
	return u.Username
}

func newParkedAccept(g *Globals) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "accept SERVICE",
		Short: "Have the events parked that fail now, though the fault may be the service's",
		Long: `A service that parks nothing, since many different events fail, holds up what comes
behind them. accept has those parked that are failing now when they come again within
five minutes; events that begin to fail later are held back again. Each replica has
its own list: where there are several, accept at each.`,
		Example: "  quad parked accept order",
		Args:    Exactly("SERVICE"),
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, args []string) error {
			_, admins, err := selectAdmins(inst, args[0])
			if err != nil {
				return err
			}
			n, err := admins[args[0]].AcceptParking(cmd.Context(), limit)
			if err != nil {
				return fmt.Errorf("accept parking by %s: %w", args[0], err)
			}
			if g.JSON {
				return output.JSON(os.Stdout, map[string]any{"service": args[0], "accepted": n})
			}
			fmt.Printf("%s will park %d events that fail now\n", args[0], n)
			return nil
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", listedMost, "how many events at most, up to 1000")
	return cmd
}
