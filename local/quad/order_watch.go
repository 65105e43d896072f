package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"quadrille.internal/quad/timeline"
)

const (
	watchEvery = 50 * time.Millisecond
	// A long wait is mentioned when the order has not moved for this long.
	mentionAfter = 2 * time.Second
)

func newOrderWatch(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "watch ID",
		Short: "Follow an order, moment by moment, until it is settled",
		Long: `watch prints each moment of an order as it happens and returns once the order is
settled and all services have followed: 0 when it is confirmed, 1 when it is
cancelled, or stands still since one of its events is parked. With --json it prints one object a line.`,
		Example: "  quad order watch 019aa0c2-6f0e-7d51-b1a7-1e1e4c0e9d3a",
		Args:    exactly("ID"),
		RunE: g.withRunning(func(cmd *cobra.Command, r *running, args []string) error {
			id, err := parseID("order", args[0])
			if err != nil {
				return err
			}
			return watchOrder(cmd.Context(), g, r, id)
		}),
	}
}

func watchOrder(ctx context.Context, g *globals, r *running, id uuid.UUID) error {
	t, err := follow(ctx, r.timelineSources(), id, watchPrinter(g))
	if err != nil {
		return advise(err)
	}
	if t.Parked > 0 {
		return unwell{error: fmt.Errorf("order %s stands still: a service could not handle one of its events; see quad parked list, mend the cause, then quad parked replay", id)}
	}
	if !g.json {
		fmt.Printf("\norder %s is %s\n", id, paintStatus(t.Status))
	}
	if t.Status != "confirmed" {
		return unwell{error: fmt.Errorf("order %s is %s", id, t.Status), said: true}
	}
	return nil
}

func watchPrinter(g *globals) func(*timeline.Timeline, []timeline.Moment) {
	if g.json {
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
			fmt.Printf("%s  %8s  %-10s %s  %s\n", m.At.Local().Format("15:04:05.000"), after(t, m), m.Service, paintMoment(m), m.Detail)
			lastMove, patience = time.Now(), mentionAfter
		}
		if t.WaitsFor != "" && time.Since(lastMove) > patience {
			fmt.Println(paint(os.Stdout, faint, "              waits for "+t.WaitsFor))
			lastMove, patience = time.Now(), 2*patience
		}
	}
}

// follow reads an order's timeline until it is done, and tells the moments that
// are new each time.
func follow(ctx context.Context, src timeline.Sources, id uuid.UUID, tell func(*timeline.Timeline, []timeline.Moment)) (*timeline.Timeline, error) {
	var seen seen
	for {
		t, err := timeline.Read(ctx, src, id)
		if err != nil && (!errors.Is(err, timeline.ErrUnknown) || !recent(id)) {
			return nil, err
		}
		if t != nil {
			tell(t, seen.fresh(t.Moments))
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

// seen are moments that were told already.
type seen map[timeline.Moment]bool

func (s *seen) fresh(moments []timeline.Moment) []timeline.Moment {
	if *s == nil {
		*s = make(seen)
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
