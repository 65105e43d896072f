package b2b

import (
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
)

const (
	relayAfter   = 2 * time.Second  // before what was told at once counts as unheard
	relayAgain   = 5 * time.Second  // before it is told once more, or again after Dapr did not take it
	lostAfter    = 30 * time.Second // before a workflow in which nothing moves counts as lost
	lostAgain    = 10 * time.Second // before a lost one is told once more
	wedgedAfter  = time.Minute      // before one that telling does not move is ended and started again
	wedgedTold   = 3                // how often it was told until then, each time with success
	longestPause = 10 * time.Minute
)

// dueOrder is an order that the relay looks at, since nothing happened to it by the
// time that was set; see Order.checkAgain.
type dueOrder struct {
	id      uuid.UUID
	version int64
	trace   string
	status  Status
	started bool
	told    int // times told since it moved or its workflow was ended
	ends    int // times its workflow was ended since it moved
	// late is since when it should have moved: since it did, or since its gate, which
	// is in the state gate, was decided or due.
	late time.Time
	gate *GateState
}

// does is what the relay does with an order.
type does int

const (
	nothing does = iota // it is not late, or waits for an operator
	tells
	endsIt
)

// judge says what to do with an order. A workflow counts as wedged only when it was
// told often enough, with success each time, and did not move: while Dapr does not
// answer nobody is told. One that was never started only waits for its turn, and is
// never ended. Each end doubles the time until the next.
func (d *dueOrder) judge(now time.Time) does {
	switch {
	case d.status == CompensationFailed, d.waits() && now.Before(d.late.Add(lostAfter)):
		return nothing
	case !d.started && d.status == Submitted:
		return tells
	case d.told >= wedgedTold && now.Sub(d.late) >= wedgedAfter:
		return endsIt
	default:
		return tells
	}
}

// waits reports whether the order waits at its gate.
func (d *dueOrder) waits() bool {
	return d.status == AwaitingApproval && d.gate != nil && *d.gate == GateOpen
}

// news is all there is to tell. The workflow is started, in case it is gone or has
// failed, and told to look, in case it waits. So is one that does not begin: Dapr makes
// the reminder that begins it before it saves it, and a sidecar that stops in between
// leaves one that is there and never runs. An event makes a reminder for it.
func (d *dueOrder) news() []news {
	start := news{order: d.id, trace: d.trace}
	switch {
	case !d.started && d.status == Submitted && d.told < wedgedTold:
		return []news{start}
	case d.status != AwaitingApproval:
		return []news{start, {order: d.id, event: eventResume}}
	case d.told == 0 && !d.waits():
		return []news{{order: d.id, event: eventApproval}} // it was just decided
	default:
		return []news{start, {order: d.id, event: eventApproval}}
	}
}

// Outcomes of what the relay does.
type outcomeOfTelling int

const (
	told outcomeOfTelling = iota
	untold
	ended
	notEnded
	calm // there was nothing to do
	full // there was no room
)

// after returns the order as it is after an outcome, and when to look again.
func (d dueOrder) after(o outcomeOfTelling, now time.Time) (next dueOrder, at *time.Time) {
	wait := relayAgain
	switch o {
	case told:
		wait = d.pause()
		d.told++
	case ended:
		d.told, d.ends = 0, d.ends+1
		wait = d.pause()
	case notEnded:
		d.told = 0
	case calm:
		if d.status == CompensationFailed {
			return d, nil
		}
		soon := d.late.Add(lostAfter)
		return d, &soon
	case untold, full:
	}
	soon := now.Add(wait*3/4 + rand.N(wait/2)) //nolint:gosec // jitter needs no secrecy
	return d, &soon
}

// pause is how long the next telling gets to be heard.
func (d *dueOrder) pause() time.Duration {
	wait := lostAgain
	if !d.started || d.told == 0 && d.ends == 0 {
		wait = relayAgain
	}
	doubled := d.ends
	if !d.started {
		doubled = min(d.told/2, 4) // who waits for their turn need not be told often
	}
	return min(wait<<min(doubled, 10), longestPause)
}
