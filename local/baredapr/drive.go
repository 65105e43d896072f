package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/inbox"
)

var errTooShort = errors.New("payload is no envelope")

// stallAfter is how long nothing may come back before a run is given up.
const stallAfter = 20 * time.Second

// spec is what POST /run asks for.
type spec struct {
	Count    int     `json:"count"`
	WarmUp   int     `json:"warm_up"`   // sent before those that count
	InFlight int     `json:"in_flight"` // closed loop
	Rate     float64 `json:"rate"`      // open loop, a second; 0: closed
	Bytes    int     `json:"bytes"`     // of one payload
}

func (s spec) validate() error {
	if s.Count < 1 || s.WarmUp < 0 || s.InFlight < 1 || s.Rate < 0 || s.Bytes < len(envelopeHead)+uuidLength+8 {
		return errors.New("count, in_flight and bytes must be positive and bytes enough for an envelope")
	}
	return nil
}

// report is the answer.
type report struct {
	PerSecond float64 `json:"per_second"`
	MS        struct {
		P50 float64 `json:"p50"`
		P95 float64 `json:"p95"`
		P99 float64 `json:"p99"`
		Max float64 `json:"max"`
	} `json:"ms"`
}

// driver sends messages around the hops and times them.
type driver struct {
	out     *forwarder
	running sync.Mutex
	current atomic.Pointer[trip]
}

func newDriver(out *forwarder) *driver { return &driver{out: out} }

// trip is one run: the times, by number of message, since it began.
type trip struct {
	began     time.Time
	sent      []time.Duration
	came      []atomic.Int64 // 0: not yet
	inFlight  chan struct{}
	remaining atomic.Int64
	done      chan struct{}
}

func (d *driver) serve(w http.ResponseWriter, r *http.Request) {
	var s spec
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := s.validate(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	rep, err := d.drive(r.Context(), s)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(rep) // a caller that went away needs no answer
}

func (d *driver) drive(ctx context.Context, s spec) (report, error) {
	d.running.Lock()
	defer d.running.Unlock()
	n := s.WarmUp + s.Count
	t := &trip{
		began: time.Now(), sent: make([]time.Duration, n), came: make([]atomic.Int64, n),
		inFlight: make(chan struct{}, s.InFlight), done: make(chan struct{}),
	}
	t.remaining.Store(int64(n))
	d.current.Store(t)
	defer d.current.Store(nil)
	for i := range n {
		if err := t.await(ctx, s, i); err != nil {
			return report{}, err
		}
		if err := d.out.send(ctx, envelope(i, s.Bytes)); err != nil {
			return report{}, err
		}
	}
	if err := t.finish(ctx); err != nil {
		return report{}, err
	}
	return t.report(s.WarmUp), nil
}

// await returns when message i must be sent.
func (t *trip) await(ctx context.Context, s spec, i int) error {
	if s.Rate > 0 {
		t.sent[i] = time.Duration(float64(i) / s.Rate * float64(time.Second))
		return sleepUntil(ctx, t.began.Add(t.sent[i]))
	}
	stalled := time.NewTimer(stallAfter)
	defer stalled.Stop()
	select {
	case t.inFlight <- struct{}{}:
		t.sent[i] = time.Since(t.began)
		return nil
	case <-stalled.C:
		return t.stalled()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *trip) stalled() error {
	return fmt.Errorf("nothing came back for %s, %d messages are missing", stallAfter, t.remaining.Load())
}

func sleepUntil(ctx context.Context, at time.Time) error {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *trip) finish(ctx context.Context) error {
	left := int64(-1)
	for {
		select {
		case <-t.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(stallAfter):
			if t.remaining.Load() == left {
				return t.stalled()
			}
			left = t.remaining.Load()
		}
	}
}

// Handle takes the time of what has been around.
func (d *driver) Handle(_ context.Context, batch []*inbox.Message) error {
	t := d.current.Load()
	if t == nil {
		return nil // left over from a run that was given up
	}
	now := int64(time.Since(t.began))
	for _, m := range batch {
		i, err := number(m.Payload)
		if err != nil || i >= len(t.came) || !t.came[i].CompareAndSwap(0, now) {
			continue // of an earlier run, or delivered twice
		}
		select {
		case <-t.inFlight:
		default: // an open loop counts none
		}
		if t.remaining.Add(-1) == 0 {
			close(t.done)
		}
	}
	return nil
}

// HandleDead is never called as long as nothing fails.
func (d *driver) HandleDead(context.Context, []*inbox.Message) {}

// report leaves out the first messages. The throughput is what came back while
// messages were being sent off: the ends, when the hops run full or empty, say
// nothing about it.
func (t *trip) report(warmUp int) report {
	from, to := t.sent[warmUp], t.sent[len(t.sent)-1]
	var took []time.Duration
	var within int
	for i := range t.came {
		came := time.Duration(t.came[i].Load())
		if came >= from && came <= to {
			within++
		}
		if i >= warmUp {
			took = append(took, came-t.sent[i])
		}
	}
	slices.Sort(took)
	at := func(q float64) float64 {
		return float64(took[int(q*float64(len(took)-1)+0.5)]) / float64(time.Millisecond)
	}
	var r report
	if to > from {
		r.PerSecond = float64(within) / (to - from).Seconds()
	}
	r.MS.P50, r.MS.P95, r.MS.P99, r.MS.Max = at(0.50), at(0.95), at(0.99), at(1)
	return r
}

// envelope makes message i: it begins as a CloudEvent and is filled up to size.
// The number is in the last bytes of the id.
func envelope(i, size int) []byte {
	id := uuid.UUID{6: 0x70, 8: 0x80}
	binary.BigEndian.PutUint32(id[12:], uint32(i)) //nolint:gosec // far below 4 thousand million
	b := make([]byte, 0, size)
	b = append(b, envelopeHead...)
	b = append(b, id.String()...)
	b = append(b, `","d":"`...)
	b = append(b, bytes.Repeat([]byte{'x'}, size-len(b)-2)...)
	return append(b, `"}`...)
}

func number(payload []byte) (int, error) {
	id, err := eventID(payload)
	return int(binary.BigEndian.Uint32(id[12:])), err
}
