package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
	"quadrille.internal/quad/timeline"
)

const (
	watchEvery = 50 * time.Millisecond
	// A long wait is mentioned when the order has not moved for this long.
	mentionAfter = 2 * time.Second
)

func newOrderWatch(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "watch ID",
		Short: "Follow an order, moment by moment, until it is settled",
		Long: `watch prints each moment of an order as it happens and returns once the order is
settled and all services have followed: 0 when it is confirmed, 1 when it is
cancelled, or stands still since one of its events is parked. With --json it prints one
object a line.`,
		Example: "  quad order watch 019aa0c2-6f0e-7d51-b1a7-1e1e4c0e9d3a",
		Args:    Exactly("ID"),
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, args []string) error {
			id, err := parseID("order", args[0])
			if err != nil {
				return err
			}
			return watchOrder(cmd.Context(), g, inst, id)
		}),
	}
}

func watchOrder(ctx context.Context, g *Globals, inst *installation.Installation, id uuid.UUID) error {
	books, err := TimelineSources(ctx, inst)
	if err != nil {
		return err
	}
	t, err := follow(ctx, books, id, watchPrinter(g))
	if err != nil {
		return advise(err)
	}
	if t.Parked > 0 {
		return Unwell{Err: fmt.Errorf("order %s stands still: a service could not handle one of its events; see quad parked list, mend the cause, then quad parked replay", id)}
	}
	if !g.JSON {
		fmt.Printf("\norder %s is %s\n", id, PaintStatus(t.Status))
	}
	if t.Status != "confirmed" {
		return Unwell{Err: fmt.Errorf("order %s is %s", id, t.Status), Said: true}
	}
	return nil
}

func watchPrinter(g *Globals) func(*timeline.Timeline, []timeline.Moment) {
	if g.JSON {
		lines := json.NewEncoder(os.Stdout)
		return func(_ *timeline.Timeline, fresh []timeline.Moment) {
			for _, m := range fresh {
				_ = lines.Encode(m) // nowhere left to report to
			}
		}
	}
	// The longer nothing happens, the less often that is said.
	lastMove, patience := time.Now(), mentionAfter
	return func(t *timeline.Timeline, fresh []timeline.Moment) {
		for _, m := range fresh {
			fmt.Printf("%s  %8s  %-10s %s  %s\n", m.At.Local().Format("15:04:05.000"), after(t, m), m.Service, PaintMoment(m), m.Detail)
			lastMove, patience = time.Now(), mentionAfter
		}
		if t.WaitsFor != "" && time.Since(lastMove) > patience {
			fmt.Println(output.Paint(os.Stdout, output.Faint, "              waits for "+t.WaitsFor))
			lastMove, patience = time.Now(), 2*patience
		}
	}
}

// follow reads an order's timeline until it is done, and tells the moments that
// are new each time.
func follow(ctx context.Context, src timeline.Sources, id uuid.UUID, tell func(*timeline.Timeline, []timeline.Moment)) (*timeline.Timeline, error) {
	var seen Seen
	for {
		t, err := timeline.Read(ctx, src, id)
		if err != nil && (!errors.Is(err, timeline.ErrUnknown) || !recent(id)) {
			return nil, err
		}
		if t != nil {
			tell(t, seen.Fresh(t.Moments))
			if t.Done || t.Parked > 0 {
				return t, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(watchEvery):
		}
	}
}

// Seen are moments that were told already.
type Seen map[timeline.Moment]bool

// Fresh returns the moments that are new, and remembers them.
func (s *Seen) Fresh(moments []timeline.Moment) []timeline.Moment {
	if *s == nil {
		*s = make(Seen)
	}
	var fresh []timeline.Moment
	for _, m := range moments {
		if key := (timeline.Moment{At: m.At.UTC(), Service: m.Service, What: m.What}); !(*s)[key] {
			(*s)[key] = true
			fresh = append(fresh, m)
		}
	}
	return fresh
}
