package inventory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
)

const (
	maxStreams    = 16
	maxWatched    = 20_000 // by one stream
	maxLevels     = 1_000  // in one message, or one query
	heartbeat     = time.Second
	readLiveEvery = 100 * time.Millisecond
	// liveShare of the time the stock is being read, at most: where very many SKUs are
	// watched it is read less often.
	liveShare   = 10
	liveTimeout = 2 * time.Second
)

// live tells streams of the levels that they watch; see live.proto.
//
// What is watched is read again and again, all SKUs of all streams at once. So a change is
// seen whichever replica made it, and orders pay nothing for being watched: a notification
// would cost each of their commits a lock that all commits share, and a consumer group
// brings an event to one replica only.
type live struct {
	inventoryv1.UnimplementedLiveStockServer
	pool  *pgxpool.Pool
	log   *slog.Logger
	every time.Duration
	// added says that there are SKUs that were never read.
	added chan struct{}

	mu      sync.Mutex
	streams int
	skus    map[string]*watchedSKU
	// unread are those that were never read.
	unread map[string]struct{}
	// readAt is when the last reading of all SKUs began.
	readAt time.Time
}

// watchedSKU is what is known of a SKU that somebody watches.
type watchedSKU struct {
	level liveLevel
	// read says that it was read, known that a warehouse had it then.
	read, known bool
	watchers    map[*watcher]struct{}
}

// liveLevel is what new orders may have of a SKU.
type liveLevel struct {
	available, version int64
}

// watcher is one stream. The lock of live guards its fields: of each SKU it holds one entry,
// however slow the client is.
type watcher struct {
	// told are the versions that the client has.
	told map[string]int64
	// changed are the SKUs to tell of, unread those that were never read: until they were,
	// nothing can be said of the age of what the client has.
	changed, unread map[string]struct{}
	// requests is how many were taken in.
	requests int64
	wake     chan struct{}
}

func newLive(pool *pgxpool.Pool, log *slog.Logger) *live {
	return &live{
		pool: pool, log: log, every: readLiveEvery, added: make(chan struct{}, 1),
		skus: make(map[string]*watchedSKU), unread: make(map[string]struct{}),
	}
}

func (l *live) register(r grpc.ServiceRegistrar) { inventoryv1.RegisterLiveStockServer(r, l) }

// Watch serves one stream.
func (l *live) Watch(stream grpc.BidiStreamingServer[inventoryv1.WatchRequest, inventoryv1.WatchResponse]) error {
	w := &watcher{told: make(map[string]int64), changed: make(map[string]struct{}), unread: make(map[string]struct{}), wake: make(chan struct{}, 1)}
	if !l.open() {
		return status.Errorf(codes.ResourceExhausted, "%d streams are open already", maxStreams)
	}
	defer l.close(w)
	refused := make(chan error, 1)
	go func() { refused <- l.listen(stream, w) }() // ends with the stream
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-stream.Context().Done():
			return status.Error(codes.Unavailable, "the stream ends; begin a new one")
		case err := <-refused:
			return err
		case <-w.wake:
		case <-beat.C:
		}
		if err := l.tell(stream, w); err != nil {
			return err
		}
	}
}

// listen takes in what the client wants, until it wants no more or something wrong.
func (l *live) listen(stream grpc.BidiStreamingServer[inventoryv1.WatchRequest, inventoryv1.WatchResponse], w *watcher) error {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !l.change(w, req) {
			return status.Errorf(codes.ResourceExhausted, "a stream watches %d SKUs at most", maxWatched)
		}
	}
}

func (l *live) open() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.streams == maxStreams {
		return false
	}
	l.streams++
	return true
}

func (l *live) close(w *watcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams--
	for sku := range w.told {
		l.unwatch(w, sku)
	}
	w.told = nil // what its reader still takes in has no effect
}

// change watches and unwatches, and reports whether that is within bounds.
func (l *live) change(w *watcher, req *inventoryv1.WatchRequest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.told == nil {
		return true
	}
	w.requests++
	for _, sku := range req.GetUnwatch() {
		l.unwatch(w, sku)
	}
	for _, s := range req.GetWatch() {
		if _, watched := w.told[s.GetSku()]; !watched && len(w.told) == maxWatched {
			return false
		}
		l.watch(w, s.GetSku(), s.GetVersion())
	}
	return true
}

// watch wants the lock, like unwatch and mark.
func (l *live) watch(w *watcher, sku string, version int64) {
	s := l.skus[sku]
	if s == nil {
		s = &watchedSKU{watchers: make(map[*watcher]struct{})}
		l.skus[sku] = s
		l.unread[sku] = struct{}{}
		select {
		case l.added <- struct{}{}:
		default:
		}
	}
	s.watchers[w] = struct{}{}
	w.told[sku] = version
	switch {
	case !s.read:
		w.unread[sku] = struct{}{}
	case s.known && s.level.version != version:
		w.mark(sku)
	}
}

func (l *live) unwatch(w *watcher, sku string) {
	delete(w.told, sku)
	delete(w.changed, sku)
	delete(w.unread, sku)
	s := l.skus[sku]
	if s == nil {
		return
	}
	delete(s.watchers, w)
	if len(s.watchers) == 0 {
		delete(l.skus, sku)
		delete(l.unread, sku)
	}
}

func (w *watcher) mark(sku string) {
	w.changed[sku] = struct{}{}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// tell sends the newest levels of what changed, or only how old they are.
func (l *live) tell(stream grpc.BidiStreamingServer[inventoryv1.WatchRequest, inventoryv1.WatchResponse], w *watcher) error {
	for {
		answer, more := l.take(w)
		if err := stream.Send(answer); err != nil || !more {
			return err
		}
	}
}

func (l *live) take(w *watcher) (answer *inventoryv1.WatchResponse, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	answer = &inventoryv1.WatchResponse{Requests: w.requests}
	for sku := range w.changed {
		if len(answer.GetLevels()) == maxLevels {
			return answer, true
		}
		delete(w.changed, sku)
		level := l.skus[sku].level
		w.told[sku] = level.version
		answer.Levels = append(answer.Levels, &inventoryv1.LiveLevel{Sku: sku, Available: level.available, Version: level.version})
	}
	if len(w.unread) == 0 && !l.readAt.IsZero() {
		answer.AgeMs = new(time.Since(l.readAt).Milliseconds())
	}
	return answer, false
}

// run reads the stock that is watched until ctx ends. It fails with nothing: while the
// database is away the levels get older, and that is told.
func (l *live) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	failing := false
	for {
		all := false
		select {
		case <-ctx.Done():
			return nil
		case <-l.added:
		case <-timer.C:
			all = true
		}
		began := time.Now()
		err := l.read(ctx, all)
		if failed := err != nil && ctx.Err() == nil; failed != failing {
			if failing = failed; failed {
				l.log.WarnContext(ctx, "watched stock cannot be read, its watchers see it grow old", "err", err)
			} else {
				l.log.InfoContext(ctx, "watched stock is read again")
			}
		}
		if all {
			timer.Reset(max(l.every, liveShare*time.Since(began)))
		}
	}
}

// read reads all SKUs that are watched, or those that never were read.
func (l *live) read(ctx context.Context, all bool) error {
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	began := time.Now()
	for skus := range slices.Chunk(l.wanted(all), maxLevels) {
		found, err := readLive(ctx, l.pool, skus)
		if err != nil {
			return err
		}
		l.apply(skus, found)
	}
	if all {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.readAt = began
	}
	return nil
}

func (l *live) wanted(all bool) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	unread := slices.Collect(maps.Keys(l.unread))
	clear(l.unread)
	if all {
		return slices.Collect(maps.Keys(l.skus))
	}
	return unread
}

// apply notes what was read of SKUs, and marks what changed for its watchers.
func (l *live) apply(skus []string, found map[string]liveLevel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, sku := range skus {
		s := l.skus[sku]
		if s == nil {
			continue // nobody watches it any more
		}
		level, known := found[sku]
		first, changed := !s.known, s.level.available != level.available
		s.level, s.read, s.known = level, true, known
		for w := range s.watchers {
			delete(w.unread, sku)
			if known && (first && w.told[sku] != level.version || !first && changed) {
				w.mark(sku)
			}
		}
	}
}

// readLive reads what new orders may have of SKUs, as it is published, with its version.
func readLive(ctx context.Context, pool *pgxpool.Pool, skus []string) (map[string]liveLevel, error) {
	rows, err := pool.Query(ctx, `
		select sku, sum(published_level(on_hand - held))::bigint, sum(revision)::bigint + count(*)
		from stock where sku = any($1) group by sku`, skus)
	if err != nil {
		return nil, fmt.Errorf("read watched stock: %w", err)
	}
	found := make(map[string]liveLevel, len(skus))
	var sku string
	var level liveLevel
	if _, err := pgx.ForEachRow(rows, []any{&sku, &level.available, &level.version}, func() error {
		found[sku] = level
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read watched stock: %w", err)
	}
	return found, nil
}
