package cart

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/telemetry"
)

const (
	// maxSKUs bounds what a replica watches; inventory allows twice as many.
	maxSKUs = 10_000
	// keepUnused is how long a SKU that nobody looks at stays watched.
	keepUnused = time.Minute
	// maxWatch is how many SKUs one request names.
	maxWatch = 1_000
	// maxSilence of inventory, which says something each second, ends a stream.
	maxSilence = 4 * time.Second

	firstBackoff, lastBackoff = 100 * time.Millisecond, 5 * time.Second
)

// levels is the stock that people look at: what inventory told last, by one stream for all
// of them. When the stream breaks, levels stay as they are and get older, until a new one
// takes up where it ended.
type levels struct {
	client inventoryv1.LiveStockClient
	log    *slog.Logger
	// silence ends a stream.
	silence time.Duration

	// asOf is when what the stream has told was right, for levels that are current: in Unix
	// nanoseconds, since browsers read it without the lock.
	asOf atomic.Int64
	// watchers is how many browsers there are.
	watchers atomic.Int64
	turns    *turns

	mu   sync.Mutex
	skus map[string]*level
	// watch and unwatch are what the stream is still to be told.
	watch   []*level
	unwatch []string
	pending chan struct{}
	// asked are the levels that were named to the stream and not taken in yet, by request.
	asked    []*level
	requests int64
	// streaming says that there is a stream to be told, connected that inventory answers.
	streaming, connected bool
}

// level is a SKU that is watched. The lock of levels guards all but what is known of it.
type level struct {
	sku string
	now atomic.Pointer[reading]
	// request is the one that named it to the stream, 0 while none has.
	request  int64
	watchers map[*watcher]struct{}
	usedAt   time.Time
}

// reading is what is known of a SKU. It does not change; another one takes its place.
type reading struct {
	available, version int64
	// known is false until inventory has told of it.
	known bool
	// current says that levels.asOf is when it was right; otherwise asOf is.
	current bool
	asOf    time.Time
}

// newLevels returns levels of which browsers are told in so many frames a second, in the long run.
func newLevels(conn grpc.ClientConnInterface, perSecond float64, log *slog.Logger) *levels {
	return &levels{
		client: inventoryv1.NewLiveStockClient(conn), log: log, turns: newTurns(perSecond), silence: maxSilence,
		skus: make(map[string]*level), pending: make(chan struct{}, 1),
	}
}

// shown is a level as people see it: a hint with its age.
type shown struct {
	// Available is nil where it is not known.
	Available *int64 `json:"available"`
	// AgeMS is for how many milliseconds it may have been out of date.
	AgeMS *int64 `json:"age_ms,omitempty"`
}

func (v *levels) show(r *reading, now time.Time) shown {
	if !r.known {
		return shown{}
	}
	return shown{Available: new(r.available), AgeMS: new(v.age(r, now))}
}

// age is in milliseconds.
func (v *levels) age(r *reading, now time.Time) int64 {
	at := r.asOf
	if r.current {
		at = time.Unix(0, v.asOf.Load())
	}
	return max(0, now.Sub(at).Milliseconds())
}

// peek returns what is known of SKUs, and has them watched for a while.
func (v *levels) peek(skus []string, now time.Time) map[string]shown {
	v.mu.Lock()
	defer v.mu.Unlock()
	found := make(map[string]shown, len(skus))
	for _, sku := range skus {
		if l := v.level(sku, now); l != nil {
			l.usedAt = now
			found[sku] = v.show(l.now.Load(), now)
		}
	}
	return found
}

// level returns that of a SKU, which is watched from now on, or nil where there is no room.
// It wants the lock.
func (v *levels) level(sku string, now time.Time) *level {
	if l := v.skus[sku]; l != nil {
		return l
	}
	if len(v.skus) >= maxSKUs {
		v.forget(now)
		if len(v.skus) >= maxSKUs {
			return nil
		}
	}
	l := &level{sku: sku, watchers: make(map[*watcher]struct{}), usedAt: now}
	l.now.Store(&reading{})
	v.skus[sku] = l
	if v.streaming { // otherwise the next one begins with all
		v.watch = append(v.watch, l)
		v.signal()
	}
	return l
}

// forget unwatches what nobody has looked at since before. It wants the lock.
func (v *levels) forget(before time.Time) {
	forgotten := false
	for sku, l := range v.skus {
		if len(l.watchers) == 0 && l.usedAt.Before(before) {
			delete(v.skus, sku)
			forgotten = true
			if v.streaming {
				v.unwatch = append(v.unwatch, sku)
			}
		}
	}
	if forgotten {
		gone := func(l *level) bool { return v.skus[l.sku] != l }
		v.watch, v.asked = slices.DeleteFunc(v.watch, gone), slices.DeleteFunc(v.asked, gone)
		v.signal()
	}
}

func (v *levels) signal() {
	select {
	case v.pending <- struct{}{}:
	default:
	}
}

// run follows inventory until ctx ends. It begins again whenever the stream ends: what a
// sidecar retries is only how it begins.
func (v *levels) run(ctx context.Context) error {
	var waking sync.WaitGroup
	defer waking.Wait()
	waking.Go(func() { v.turns.run(ctx) })
	warned := false // of a silence that still lasts
	for backoff := firstBackoff; ; {
		told, err := v.follow(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to end
		}
		if told {
			backoff = firstBackoff
		}
		if told || !warned {
			warned = true
			v.log.WarnContext(ctx, "inventory tells nothing of its stock, what is shown grows old until it does", "err", err)
		}
		if pgtx.Sleep(ctx, backoff) != nil {
			return nil //nolint:nilerr // as above
		}
		backoff = min(2*backoff, lastBackoff)
	}
}

// follow follows one stream to its end. told reports whether it told anything.
func (v *levels) follow(ctx context.Context) (told bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	quiet := time.AfterFunc(v.silence, cancel)
	defer quiet.Stop()
	stream, err := v.client.Watch(ctx)
	if err != nil {
		return false, err
	}
	v.begin()
	defer v.freeze()
	var sending sync.WaitGroup
	defer sending.Wait()
	defer cancel() // ends the sender
	sending.Go(func() { v.send(ctx, stream) })
	for {
		answer, err := stream.Recv()
		if err != nil {
			return told, err
		}
		quiet.Reset(v.silence)
		if !told {
			told = true
			v.log.InfoContext(ctx, "inventory tells of its stock")
		}
		v.take(answer, time.Now())
	}
}

// begin has all SKUs named to a new stream.
func (v *levels) begin() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.watch, v.unwatch, v.asked, v.requests, v.streaming = nil, nil, nil, 0, true
	for _, l := range v.skus {
		l.request = 0
		v.watch = append(v.watch, l)
	}
	v.signal()
}

// freeze keeps of each level when it was right.
func (v *levels) freeze() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.streaming, v.connected = false, false
	for _, l := range v.skus {
		if r := *l.now.Load(); r.current {
			r.current, r.asOf = false, time.Unix(0, v.asOf.Load())
			l.now.Store(&r)
		}
	}
}

// send tells the stream what is watched, until it ends.
func (v *levels) send(ctx context.Context, stream grpc.BidiStreamingClient[inventoryv1.WatchRequest, inventoryv1.WatchResponse]) {
	for first := true; ; first = false {
		for {
			req := v.next(first)
			if req == nil {
				break
			}
			if stream.Send(req) != nil {
				return // the receiver learns why
			}
			first = false
		}
		select {
		case <-ctx.Done():
			return
		case <-v.pending:
		}
	}
}

// next returns the next request to the stream, or nil where there is none: the first may be
// empty. What must be unwatched goes first: it may be watched again.
func (v *levels) next(first bool) *inventoryv1.WatchRequest {
	v.mu.Lock()
	defer v.mu.Unlock()
	n, m := min(len(v.watch), maxWatch), min(len(v.unwatch), maxWatch)
	if m < len(v.unwatch) {
		n = 0
	}
	number := v.requests + 1 // as inventory counts those that it takes in
	req := &inventoryv1.WatchRequest{Unwatch: v.unwatch[:m:m]}
	for _, l := range v.watch[:n] {
		if v.skus[l.sku] != l || l.request != 0 {
			continue // nobody wants it any more, or it was named already
		}
		l.request = number
		v.asked = append(v.asked, l)
		req.Watch = append(req.Watch, &inventoryv1.WatchedSku{Sku: l.sku, Version: l.now.Load().version})
	}
	v.watch, v.unwatch = v.watch[n:], v.unwatch[m:]
	if len(req.GetWatch())+len(req.GetUnwatch()) == 0 && !first {
		return nil
	}
	v.requests = number
	return req
}

// take takes in what the stream told. A level that is older than the one that is shown is
// passed over.
func (v *levels) take(answer *inventoryv1.WatchResponse, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, told := range answer.GetLevels() {
		l := v.skus[told.GetSku()]
		if l == nil {
			continue
		}
		r := *l.now.Load()
		if r.known && told.GetVersion() < r.version {
			continue
		}
		if !r.current {
			r.asOf = now
		}
		// Whether there is any is what people most want to know.
		urgent := !r.known || (r.available > 0) != (told.GetAvailable() > 0)
		r.known, r.available, r.version = true, told.GetAvailable(), told.GetVersion()
		l.now.Store(&r)
		v.turns.change(l.watchers, urgent)
	}
	v.connected = true
	if answer.AgeMs == nil {
		return
	}
	v.asOf.Store(now.Add(-time.Duration(answer.GetAgeMs()) * time.Millisecond).UnixNano())
	taken := 0
	for _, l := range v.asked {
		if l.request > answer.GetRequests() {
			break
		}
		r := *l.now.Load()
		r.current = true
		l.now.Store(&r)
		taken++
	}
	v.asked = v.asked[taken:]
	v.forget(now.Add(-keepUnused))
}

// expose registers the metrics.
func (v *levels) expose(m *telemetry.Metrics) {
	locked := func(read func() int64) func() int64 {
		return func() int64 {
			v.mu.Lock()
			defer v.mu.Unlock()
			return read()
		}
	}
	m.Gauge("stock_watchers", "Browsers that watch stock.", v.watchers.Load)
	m.Gauge("stock_waiting", "Browsers that are to be told of a change.", v.turns.waits)
	m.Counter("stock_frames_total", "Times that a browser was told something.", v.turns.frames.Load)
	m.Gauge("stock_watched", "SKUs that are watched.", locked(func() int64 { return int64(len(v.skus)) }))
	m.Gauge("stock_connected", "1 while inventory tells of its stock.", locked(func() int64 {
		if v.connected {
			return 1
		}
		return 0
	}))
}
