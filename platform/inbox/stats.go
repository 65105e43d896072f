package inbox

import (
	"sync/atomic"
	"time"
)

// Stats counts events since the start.
type Stats struct {
	// Handled includes Duplicates. Again will be delivered again.
	Handled, Duplicates, Again, Parked int64
	// Stored is how many events are parked now, 100,000 at most, some seconds ago.
	Stored int64
	// Suspects are the events that others are in the way of, or that take too long;
	// SuspectsOldest is for how many seconds the oldest is one.
	Suspects, SuspectsOldest int64
	// Batches is the number of transactions that handled them.
	Batches int64
}

type counters struct {
	handled, duplicates, again, parked, batches atomic.Int64
}

func (c *counters) add(v Verdict, n int) {
	switch v {
	case Done:
		c.handled.Add(int64(n))
	case Again:
		c.again.Add(int64(n))
	}
}

// Stats returns the inbox's counters.
func (in *Inbox) Stats() Stats {
	c := &in.count
	suspects, oldest := in.suspects.stats(time.Now())
	return Stats{
		Suspects: int64(suspects), SuspectsOldest: int64(oldest.Seconds()),
		Stored:  in.stored.Load(),
		Handled: c.handled.Load(), Duplicates: c.duplicates.Load(), Again: c.again.Load(),
		Parked: c.parked.Load(), Batches: c.batches.Load(),
	}
}
