package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"quadrille.internal/local/stack"
	"quadrille.internal/quad/command"
)

func newMove(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "move SERVICE out|in",
		Short: "Move a service out of the one process, or back, while orders flow",
		Long: `move takes a service out of the process of quad up --one-process: it becomes a process
with a Dapr sidecar of its own, on the same ports and the same database. It is started
outside first; then the one in the process finishes what it has and stops. From then on
its events go by Redis and calls to it by Dapr, both through a sidecar of the one process.
move SERVICE in brings it back: it is started in the process first, and the one outside
stops when it has answered for all that Redis held for it.

No order is lost or done twice, and none waits for the move. For a moment both run: a
client may see its connection cut once, and must send again with the same Idempotency-Key.

It may be repeated: a move that was interrupted goes on, and one that is done does nothing.
What is outside stays outside over quad down and quad up --one-process; quad doctor shows it.

Exit codes beside those of quad: 1 the move failed, and the service still works; 2 there is
no such service; 3 Quadrille does not run in one process, or Dapr is not built.`,
		Example: "  quad move payment out\n  quad move payment in",
		Args:    command.Exactly("SERVICE", "out|in"),
		RunE: func(cmd *cobra.Command, args []string) error {
			app, direction := args[0], args[1]
			if !slices.Contains([]string{"out", "in"}, direction) {
				return command.UsageError{Err: fmt.Errorf("move where? %q is neither out nor in (see quad move --help)", direction)}
			}
			s, err := g.open(newProgress(os.Stdout, g.JSON).report)
			if err != nil {
				return err
			}
			move, place := s.MoveOut, stack.PlaceOutside
			if direction == "in" {
				move, place = s.MoveIn, stack.PlaceInside
			}
			moved, err := move(cmd.Context(), app)
			switch {
			case errors.Is(err, stack.ErrUnknownService):
				return command.UsageError{Err: err}
			case err != nil:
				return err
			case g.JSON:
				return nil
			case moved:
				fmt.Printf("\n%s runs %s.\n", app, place)
			default:
				fmt.Printf("%s runs %s already.\n", app, place)
			}
			return nil
		},
	}
}
