package bench

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"

	"quadrille.internal/quad/output"
)

// timing names a histogram of a service: the metric without its prefix, and its label.
type timing struct{ metric, label string }

// timings are the histograms of a service.
type timings map[timing]histogram

// histogram of seconds. Each bound has how many observations did not exceed it.
type histogram struct {
	count  uint64
	sum    float64
	bounds []float64
	within []uint64
}

func histogramOf(h *dto.Histogram) histogram {
	found := histogram{count: h.GetSampleCount(), sum: h.GetSampleSum()}
	for _, b := range h.GetBucket() {
		found.bounds = append(found.bounds, b.GetUpperBound())
		found.within = append(found.within, b.GetCumulativeCount())
	}
	return found
}

// since returns what was observed since an earlier reading, which may be the zero value.
func (h histogram) since(before histogram) histogram {
	grown := histogram{count: h.count - before.count, sum: h.sum - before.sum, bounds: h.bounds, within: make([]uint64, len(h.within))}
	for i, n := range h.within {
		grown.within[i] = n
		if i < len(before.within) {
			grown.within[i] -= before.within[i]
		}
	}
	return grown
}

// mean in milliseconds.
func (h histogram) mean() float64 { return 1000 * per(h.sum, float64(h.count)) }

// quantile in milliseconds, as exact as the buckets are: within a bucket the observations
// are taken to be spread evenly.
func (h histogram) quantile(q float64) float64 {
	rank := q * float64(h.count)
	var low float64
	var below uint64
	for i, n := range h.within {
		if n > below && float64(n) >= rank {
			if math.IsInf(h.bounds[i], 1) {
				break
			}
			return 1000 * (low + (h.bounds[i]-low)*(rank-float64(below))/float64(n-below))
		}
		if !math.IsInf(h.bounds[i], 1) {
			low = h.bounds[i]
		}
		below = n
	}
	return 1000 * low
}

// Part is a part of the time from an order's start until it is settled. All times are in
// milliseconds. P50 and P99 are 0 where only the mean can be told.
type Part struct {
	Name string  `json:"name"`
	Mean float64 `json:"mean_ms"`
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
	// Count is how many were timed.
	Count uint64 `json:"count"`
	// Events is how many went together, and UnderWay how many such batches of the topic
	// were under way at a time, both on average; 0 where events do not go in batches.
	Events   float64 `json:"events,omitempty"`
	UnderWay float64 `json:"under_way,omitempty"`
}

// Where says where the time of orders went. Means add up: each part begins where the one
// before it ends.
type Where struct {
	Parts []Part `json:"parts"`
	// Sum is that of the parts' means; Whole is the mean of the orders, as measured from
	// outside. The warm-up's are among them.
	Sum   float64 `json:"sum_ms"`
	Whole float64 `json:"whole_ms"`
}

// where splits the way of consumers' orders. It is nil where there is nothing to tell, and
// does not add up where not all orders were confirmed.
func (t *trial) where(before, after sight, orders []course) *Where {
	way := t.scenario.trade.way
	if len(way) == 0 || len(orders) == 0 {
		return nil
	}
	r := reading{before, after}
	w := &Where{Whole: meanOf(orders, func(c course) time.Duration { return c.settled - c.intended })}
	commit := r.of(way[0].from, "outbox_commit_seconds", way[0].topic)
	waited := r.of(way[0].from, "placing_wait_seconds", "")
	answered := meanOf(orders, func(c course) time.Duration { return c.answered - c.intended })
	w.add("HTTP", histogram{}, answered-waited.mean()-commit.mean())
	w.add(way[0].from+": wait", waited, waited.mean())
	for i, h := range way {
		to := r.slowest(h)
		w.hop(r, h, to)
		if to == "payment" {
			w.payment(r)
		}
		if i == len(way)-1 {
			done := r.of(to, "inbox_transaction_seconds", h.topic)
			w.add(to+": transaction", done, done.mean())
		}
	}
	return w
}

// slowest is the service that handles an event last, on average.
func (r reading) slowest(h hop) string {
	return slices.MaxFunc(h.to, func(a, b string) int { return cmp.Compare(r.handled(a, h.topic), r.handled(b, h.topic)) })
}

func (r reading) handled(service, topic string) (mean float64) {
	for _, part := range []string{"arrival", "wait", "transaction"} {
		mean += r.of(service, "inbox_"+part+"_seconds", topic).mean()
	}
	return mean
}

// hop adds the parts from the start of the transaction that emits an event to the start of
// the one that handles it.
func (w *Where) hop(r reading, h hop, to string) {
	commit := r.of(h.from, "outbox_commit_seconds", h.topic)
	queue := r.of(h.from, "outbox_queue_seconds", h.topic)
	publish := r.of(h.from, "outbox_publish_seconds", h.topic)
	arrival := r.of(to, "inbox_arrival_seconds", h.topic)
	wait := r.of(to, "inbox_wait_seconds", h.topic)
	w.add(h.from+": transaction", commit, commit.mean())
	w.add(h.topic+": queue", queue, queue.mean())
	// The receiver may have the event while the call is still under way.
	way := arrival.mean() - commit.mean() - queue.mean()
	call := min(publish.mean(), way)
	w.add(h.topic+": publish call", publish, call)
	w.batches(r, r.of(h.from, "outbox_call_seconds", h.topic))
	w.add(h.topic+": to "+to, histogram{count: arrival.count}, way-call)
	w.batches(r, r.of(to, "inbox_delivery_seconds", h.topic))
	w.add(to+": wait", wait, wait.mean())
}

func (w *Where) payment(r reading) {
	for _, step := range []struct{ label, name string }{
		{"slot", "payment: transaction, wait for a call slot"}, {"provider", "payment: provider"}, {"outcome", "payment: wait"},
	} {
		h := r.of("payment", "payment_step_seconds", step.label)
		w.add(step.name, h, h.mean())
	}
}

func (w *Where) add(name string, h histogram, mean float64) {
	p := Part{Name: name, Mean: mean, Count: h.count}
	if len(h.bounds) > 0 {
		p.P50, p.P99 = h.quantile(0.5), h.quantile(0.99)
	}
	w.Parts = append(w.Parts, p)
	w.Sum += mean
}

// batches tells of the last part in which batches its events went.
func (w *Where) batches(r reading, took histogram) {
	p := &w.Parts[len(w.Parts)-1]
	p.Events = per(float64(p.Count), float64(took.count))
	p.UnderWay = per(took.sum, r.after.at.Sub(r.before.at).Seconds())
}

// reading is what the services told before and after a run.
type reading struct{ before, after sight }

func (r reading) of(service, metric, label string) histogram {
	key := timing{metric, label}
	return r.after.metrics[service].timings[key].since(r.before.metrics[service].timings[key])
}

func meanOf(orders []course, of func(course) time.Duration) float64 {
	var sum time.Duration
	for _, c := range orders {
		sum += of(c)
	}
	return milliseconds(sum) / float64(len(orders))
}

// String is a line for each part.
func (w *Where) String() string {
	t := output.NewTable("  where the time goes, ms", "MEAN", "P50", "P99", "EVENTS", "UNDER WAY").AlignRight(1, 2, 3, 4, 5)
	tenths := func(ms float64) string { return fmt.Sprintf("%.1f", ms) }
	for _, p := range w.Parts {
		p50, p99, events, underWay := "", "", "", ""
		if p.P99 > 0 {
			p50, p99 = tenths(p.P50), tenths(p.P99)
		}
		if p.Events > 0 {
			events, underWay = tenths(p.Events), fmt.Sprintf("%.2f", p.UnderWay)
		}
		t.Add("  "+p.Name, tenths(p.Mean), p50, p99, events, underWay)
	}
	t.Add("  sum", tenths(w.Sum))
	t.Add("  measured from outside", tenths(w.Whole))
	var text strings.Builder
	t.Print(&text)
	return text.String()
}
