package outbox

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
)

func sized(topic string, bytes ...int) []Message {
	batch := make([]Message, len(bytes))
	for i, n := range bytes {
		batch[i] = Message{ID: uuid.New(), Topic: topic, Payload: make([]byte, n)}
	}
	return batch
}

func repeated(n, bytes int) []int {
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = bytes
	}
	return sizes
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	const most = 4 << 20
	for _, c := range []struct {
		name   string
		sizes  []int
		queued int
	}{
		{"small ones", repeated(8_000, 500), 8_000},
		{"too many small ones", repeated(8_001, 500), 8_000},
		{"large ones", repeated(8_000, 80_000), 53}, // the last begins below the bound
		{"a mix", append(append(repeated(1_000, 500), repeated(8_000, 80_000)...), repeated(50, 500)...), 1_047},
		{"one larger than the bound", []int{10 << 20, 1}, 1},
		{"one larger than the bound behind a small one", []int{1, 10 << 20, 1}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := newQueue(8_000, most, 1)
			batch := sized("t", c.sizes...)
			if left := q.push(batch); len(batch)-left != c.queued {
				t.Errorf("queued %d, want %d", len(batch)-left, c.queued)
			}
			sum := 0
			for {
				out, _ := q.tryPull(maxBatch)
				if out == nil {
					break
				}
				for _, m := range out {
					sum += len(m.Payload)
				}
				q.done(out, outcome{taken: out})
			}
			if messages, bytes := q.room(); messages != 8_000 || bytes != most {
				t.Errorf("room for %d and %d bytes once all is published", messages, bytes)
			}
			if largest := max(c.sizes[0], c.sizes[len(c.sizes)-1], 80_000); len(c.sizes) > 3 && sum > most+largest {
				t.Errorf("%d bytes were queued, want %d and one message at most", sum, most)
			}
		})
	}
}

// What is published must not stay reachable through the array of what waits.
func TestQueueForgetsWhatItHandsOut(t *testing.T) {
	q := newQueue(100, 1<<20, 1)
	q.push(sized("t", repeated(10, 100)...))
	array := q.lines["t"].waiting
	q.tryPull(4)
	for i, m := range array {
		if (m.Payload == nil) != (i < 4) {
			t.Errorf("message %d: payload kept is %v", i, m.Payload != nil)
		}
	}
}

func TestARefusedTopicPausesAndKeepsABatchAtMost(t *testing.T) {
	q := newQueue(8_000, 1<<20, 1)
	defer q.close()
	q.push(sized("bad", repeated(1_000, 10)...))
	fail := func(wantTried int) {
		t.Helper()
		batch, _ := q.tryPull(maxBatch)
		if len(batch) != wantTried {
			t.Fatalf("tried with %d messages, want %d", len(batch), wantTried)
		}
		q.done(batch, outcome{failed: batch, err: errors.New("no")})
	}
	fail(maxBatch)
	if batch, _ := q.tryPull(maxBatch); batch != nil {
		t.Fatal("no pause after a failure")
	}
	if n := len(q.held); n != maxBatch {
		t.Errorf("%d messages held, want %d", n, maxBatch)
	}
	if left := q.push(sized("bad", 1, 1)); left != 2 {
		t.Errorf("%d of 2 left to the table, want both", left)
	}
	if left := q.push(sized("good", 1)); left != 0 {
		t.Error("another topic is refused")
	}
	if batch, _ := q.tryPull(maxBatch); len(batch) != 1 || batch[0].Topic != "good" {
		t.Errorf("got %v, want the good one", batch)
	}
	for range 8 {
		q.mu.Lock()
		l := q.lines["bad"]
		if pause := time.Until(l.until); pause > maxPause*3/2 {
			t.Errorf("pause of %v", pause)
		}
		l.until = time.Now()
		q.schedule(l)
		q.mu.Unlock()
		fail(1)
	}
	if top := q.topics(); len(top.failing) != 1 || !top.paused["bad"] {
		t.Errorf("topics %+v", top)
	}
}

// That a topic takes others right after a failure shows that it was because of single
// messages; after several it was the topic.
func TestSuspectsAreSetAsideOnceTheirTopicIsTaken(t *testing.T) {
	l := &line{topic: "t"}
	now := time.Now()
	bad, good := sized("t", 1, 1), sized("t", 1)
	if v := l.judge(outcome{failed: bad}, now); len(v.refused) != 0 || !v.report || l.failures != 1 {
		t.Errorf("first failure: %+v", v)
	}
	if v := l.judge(outcome{failed: bad[:1]}, now.Add(time.Second)); v.report || v.failures != 2 {
		t.Errorf("a second later: %+v", v)
	}
	if v := l.judge(outcome{taken: good}, now); len(v.refused) != 0 || len(l.suspects) != 0 || !v.back || l.failures != 0 {
		t.Errorf("taken again after two failures: %+v", v)
	}
	l.judge(outcome{failed: bad}, now)
	if v := l.judge(outcome{taken: good}, now); len(v.refused) != 2 || !v.back || l.failures != 0 {
		t.Errorf("taken again after one failure: %+v", v)
	}
	again := sized("t", 1)
	again[0].refused = 2
	if v := l.judge(outcome{alone: again}, now); len(v.refused) != 1 || !v.reportAlone || l.failures != 0 {
		t.Errorf("one that was refused before counted against its topic: %+v", v)
	}
	l.judge(outcome{failed: bad}, now)
	if v := l.judge(outcome{alone: again}, now); len(v.refused) != 0 || l.failures != 2 {
		t.Errorf("while the topic fails it may be because of that: %+v", v)
	}
}

// The list of what must be removed is bounded while PostgreSQL removes nothing.
func TestSettlementIsBounded(t *testing.T) {
	s := newSettlement(nil, time.Second)
	rows := make([]row, 60_000)
	for range 5 {
		s.remove(rows)
		s.refuse(rows)
	}
	if len(s.removed) != maxUnsettled || len(s.refused) != maxUnsettled {
		t.Errorf("%d and %d rows, want %d at most", len(s.removed), len(s.refused), maxUnsettled)
	}
}

// script is a broker that answers by a rule.
type script func(batch []Message) ([]uuid.UUID, error)

func (s script) Publish(_ context.Context, _ string, batch []Message) ([]uuid.UUID, error) {
	return s(batch)
}

func TestSendFindsOutWhatIsRefused(t *testing.T) {
	unclear := errors.New("error when publishing to topic")
	large := func(batch []Message) ([]uuid.UUID, error) {
		for _, m := range batch {
			if len(m.Payload) > 100 {
				return nil, unclear
			}
		}
		return nil, nil
	}
	always := func(err error) script {
		return func([]Message) ([]uuid.UUID, error) { return nil, err }
	}
	mixed := sized("t", append(repeated(150, 10), 200, 10, 10, 200, 10)...)
	before := sized("t", 200)
	before[0].refused = 2
	for _, c := range []struct {
		name                 string
		broker               script
		batch                []Message
		taken, alone, failed int
		calls                int64 // at most
	}{
		{"all taken", large, sized("t", repeated(200, 10)...), 200, 0, 0, 1},
		{"two too large", large, mixed, 153, 2, 0, 40},
		{"the first and the last too large", large, sized("t", append(append([]int{200}, repeated(50, 1)...), 200)...), 50, 2, 0, 6},
		{"one message", large, sized("t", 200), 0, 0, 1, 1},
		{"one that was refused before", large, before, 0, 1, 0, 1},
		{"all refused", always(unclear), sized("t", repeated(200, 10)...), 0, 0, 200, 4},
		{"the topic refused", always(ErrTopicRefused), sized("t", repeated(200, 10)...), 0, 0, 200, 1},
		{"broker away", always(ErrAway), sized("t", repeated(200, 10)...), 0, 0, 200, 1},
		{"no answer in time", always(context.DeadlineExceeded), sized("t", repeated(200, 10)...), 0, 0, 200, 1},
		{"half of them too large", large, sized("t", append([]int{10}, repeated(199, 200)...)...), 1, 199, 0, 70},
		{"told by id", func(b []Message) ([]uuid.UUID, error) { return []uuid.UUID{b[1].ID}, unclear }, sized("t", 1, 1, 1), 2, 1, 0, 1},
		{"told by id, all", func(b []Message) ([]uuid.UUID, error) { return idsOf(b), ErrAway }, sized("t", 1, 1, 1), 0, 0, 3, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := New(Config{Publisher: c.broker, Log: slog.New(slog.DiscardHandler)})
			out := o.send(t.Context(), c.batch)
			if len(out.taken) != c.taken || len(out.alone) != c.alone || len(out.failed) != c.failed {
				t.Errorf("taken %d, alone %d, failed %d, want %d, %d, %d",
					len(out.taken), len(out.alone), len(out.failed), c.taken, c.alone, c.failed)
			}
			if n := o.Stats().Calls; n > c.calls {
				t.Errorf("%d calls, want %d at most", n, c.calls)
			}
		})
	}
}
