package outbox

import (
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
)

const (
	firstPause = 100 * time.Millisecond
	maxPause   = 2 * time.Second // what a broker that is back is noticed within
	reportEach = time.Minute     // topic, in the log
)

// line is what the queue knows of one topic. After a call in which the broker
// took nothing of it the topic pauses, longer each time; then one message is
// tried. As long as it fails, at most a batch waits here: the rest is for the
// table.
type line struct {
	topic   string
	waiting []Message
	ready   bool // in queue.ready
	busy    int  // batches with publishers

	failures int // calls in a row in which nothing was taken
	since    time.Time
	until    time.Time // end of the pause
	timer    *time.Timer
	// suspects failed with the topic. That it takes others right after shows that it
	// was because of one of them. After several failures the topic was away, and they
	// only share its fate: they are recovered like any others.
	suspects []row

	aside bool // has rows set aside, as far as is known

	reported      time.Time // last, of the topic
	reportedAlone time.Time // of an event
}

// row is where a message lies in the table.
type row struct {
	xid int64
	id  uuid.UUID
}

func rowsOf(batch []Message) []row {
	rows := make([]row, len(batch))
	for i, m := range batch {
		rows[i] = row{m.xid, m.ID}
	}
	return rows
}

// outcome is what became of a batch.
type outcome struct {
	taken  []Message
	alone  []Message // refused, though the broker took others of the topic
	failed []Message // nothing is known of them but that they were not taken
	later  []Message // not taken now, whatever they are
	err    error     // the last one
}

// verdict is what follows from an outcome.
type verdict struct {
	refused     []row // by themselves
	report      bool  // worth a log line: the topic is refused,
	reportAlone bool  // or a message of it is,
	back        bool  // or it is taken again,
	failures    int
	since       time.Time
}

func (l *line) judge(out outcome, now time.Time) (v verdict) {
	if l.failures > 0 && len(out.taken) == 0 {
		// It may be because of the topic, whatever it was before.
		out.failed, out.alone = append(out.failed, out.alone...), nil
	}
	v.refused = rowsOf(out.alone)
	switch {
	case len(out.taken)+len(out.later) > 0:
		if l.failures == 1 && len(out.taken) > 0 {
			v.refused = append(v.refused, l.suspects...)
		}
		v.back, v.failures, v.since = !l.reported.IsZero() && l.failures > 0, l.failures, l.since
		l.failures, l.suspects, l.reported = 0, nil, time.Time{}
	case len(out.failed) > 0:
		if l.failures++; l.failures == 1 {
			l.since = now
		}
		l.until = now.Add(pause(l.failures))
		if len(l.suspects) < maxBatch {
			l.suspects = append(l.suspects, rowsOf(out.failed)...)
		}
		v.failures, v.since = l.failures, l.since
		if v.report = now.Sub(l.reported) >= reportEach; v.report {
			l.reported = now
		}
	}
	l.aside = l.aside || len(v.refused) > 0
	if v.reportAlone = len(out.alone) > 0 && now.Sub(l.reportedAlone) >= reportEach; v.reportAlone {
		l.reportedAlone = now
	}
	return v
}

// pause grows with the failures in a row, +-50 % so that replicas disperse.
func pause(failures int) time.Duration {
	d := maxPause
	if failures < 6 { // or the shift would go beyond it
		d = min(firstPause<<(failures-1), maxPause)
	}
	return d/2 + rand.N(d) //nolint:gosec // jitter needs no secrecy
}

// resume calls f once the pause is over.
func (l *line) resume(after time.Duration, f func()) {
	l.stop()
	l.timer = time.AfterFunc(after, f)
}

func (l *line) stop() {
	if l.timer != nil {
		l.timer.Stop()
	}
}
