package bench

import (
	"fmt"
	"slices"
	"time"
)

// A history is what became of each order of a run, as times since it began.
type history struct {
	warmUp int
	// closed loop: while orders were being placed, as many as it allows were in
	// flight.
	closed bool
	orders []course
}

// course of one order; answered and settled are 0 for one that was turned away,
// decided for one that nobody decided on.
type course struct {
	intended, answered, decided, settled, told time.Duration
	refused                                    bool
}

// historyOf joins what the load and the books know. An accepted order that the
// books lack is an error: it would be lost.
func historyOf(l *load, e *ends) (*history, error) {
	h := &history{
		warmUp: l.scenario.WarmUp,
		closed: l.scenario.closed(),
		orders: make([]course, len(l.placed)),
	}
	for i, p := range l.placed {
		c := course{intended: p.intended, answered: p.answered, decided: p.decided, refused: e.refused[i]}
		if p.answered > 0 {
			if e.settled[i].IsZero() {
				return nil, fmt.Errorf("order %d was accepted and is in no book", i)
			}
			c.settled, c.told = e.settled[i].Sub(l.began), e.told[i].Sub(l.began)
		}
		h.orders[i] = c
	}
	return h, nil
}

// counted are the orders after the warm-up that were accepted.
func (h *history) counted() []course {
	return those(h.orders[h.warmUp:], func(c course) bool { return c.answered > 0 })
}

// those returns the orders that are of a kind.
func those(orders []course, kind func(course) bool) []course {
	return slices.DeleteFunc(slices.Clone(orders), func(c course) bool { return !kind(c) })
}

func latencies(orders []course, of func(course) time.Duration) Quantiles {
	took := make([]time.Duration, 0, len(orders))
	for _, c := range orders {
		took = append(took, of(c))
	}
	return quantiles(took)
}

// span is from the first counted order's start until the last one's end.
func (h *history) span() (from, to time.Duration) {
	counted := h.counted()
	if len(counted) == 0 {
		return 0, 0
	}
	from = counted[0].intended
	for _, c := range counted {
		from, to = min(from, c.intended), max(to, c.settled)
	}
	return from, to
}

// throughput is how many orders were settled a second.
//
// In a closed loop that is counted while orders were being placed: as it starts
// full and would end running empty, the ends say nothing about it. Where that
// would leave out most of the run (a short one, or a burst), it is the counted
// orders by the whole time.
func (h *history) throughput() float64 {
	from, to := h.span()
	if to == from {
		return 0
	}
	counted := h.counted()
	if h.closed {
		last := from
		for _, c := range counted {
			last = max(last, c.intended)
		}
		n := 0
		for _, c := range h.orders {
			if c.answered > 0 && c.settled > from && c.settled <= last {
				n++
			}
		}
		if 2*n > len(counted) {
			return float64(n) / (last - from).Seconds()
		}
	}
	return float64(len(counted)) / (to - from).Seconds()
}

// timeline cuts the run, warm-up included, into stretches by when orders were
// settled.
func (h *history) timeline() []Point {
	const stretches = 80
	var end time.Duration
	for _, c := range h.orders {
		end = max(end, c.settled)
	}
	if end == 0 {
		return nil
	}
	width := max(end/stretches, 250*time.Millisecond)
	took := make([][]time.Duration, int(end/width)+1)
	for _, c := range h.orders {
		if c.answered > 0 {
			i := max(0, int(c.settled/width))
			took[i] = append(took[i], c.settled-c.intended)
		}
	}
	points := make([]Point, len(took))
	for i, t := range took {
		q := quantiles(t)
		points[i] = Point{
			Second: (time.Duration(i+1) * width).Seconds(), Rate: float64(len(t)) / width.Seconds(),
			P50: q.P50, P99: q.P99,
		}
	}
	return points
}

// fill enters what a history shows.
func (f *Figures) fill(h *history) {
	counted := h.counted()
	from, to := h.span()
	f.Seconds = (to - from).Seconds()
	f.OrdersPerSecond = h.throughput()
	f.SettledMS = latencies(counted, func(c course) time.Duration { return c.settled - c.intended })
	f.HTTPMS = latencies(counted, func(c course) time.Duration { return c.answered - c.intended })
	f.ToldMS = latencies(those(counted, func(c course) bool { return c.refused }),
		func(c course) time.Duration { return c.told - c.intended })
	f.ApprovedMS = latencies(those(counted, func(c course) bool { return c.decided > 0 }),
		func(c course) time.Duration { return c.told - c.decided })
	f.Timeline = h.timeline()
}
