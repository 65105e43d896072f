package inbox

import "sync/atomic"

// Stats counts events since the start.
type Stats struct {
	// Handled includes Duplicates. Again are to be delivered again.
	Handled, Duplicates, Again, Parked int64
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
	return Stats{
		Handled: c.handled.Load(), Duplicates: c.duplicates.Load(), Again: c.again.Load(),
		Parked: c.parked.Load(), Batches: c.batches.Load(),
	}
}
