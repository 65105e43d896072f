package command

import (
	"errors"
	"fmt"
	"os"
	"os/user"

	"github.com/spf13/cobra"

	"quadrille.internal/quad/api"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
)

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
