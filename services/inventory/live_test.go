package inventory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quadrille.internal/events"
	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/protorules"
	"quadrille.internal/platform/servicetest"
)

// replica serves live stock over memory, as a replica of inventory does.
type replica struct {
	live   *live
	client inventoryv1.LiveStockClient
	stop   func() // stops reading
}

func (f fixture) replica(t *testing.T) *replica {
	t.Helper()
	r := &replica{live: newLive(f.kit.Pool, f.kit.Log)}
	r.live.every = 5 * time.Millisecond
	r.client = inventoryv1.NewLiveStockClient(servicetest.ServeCalls(t, func(to grpc.ServiceRegistrar) { r.live.register(protorules.Checked(to)) }))
	r.stop = servicetest.Run(t, r.live.run)
	return r
}

// stream is one client's.
type stream struct {
	t *testing.T
	grpc.BidiStreamingClient[inventoryv1.WatchRequest, inventoryv1.WatchResponse]
}

func (r *replica) watch(t *testing.T, skus ...*inventoryv1.WatchedSku) stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	s, err := r.client.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// A stream that is refused may have ended before this: Recv tells why, Send says io.EOF.
	if err := s.Send(&inventoryv1.WatchRequest{Watch: skus}); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return stream{t, s}
}

// until receives until a level of the SKU is told, or, with "", until an age is.
func (s stream) until(sku string) (level *inventoryv1.LiveLevel, age int64) {
	s.t.Helper()
	for {
		answer, err := s.Recv()
		if err != nil {
			s.t.Fatal(err)
		}
		for _, l := range answer.GetLevels() {
			if l.GetSku() == sku {
				return l, answer.GetAgeMs()
			}
			if sku == "" {
				s.t.Fatalf("told of %v, want nothing but an age", l)
			}
		}
		if sku == "" && answer.AgeMs != nil {
			return nil, answer.GetAgeMs()
		}
	}
}

func named(sku string, version int64) *inventoryv1.WatchedSku {
	return &inventoryv1.WatchedSku{Sku: sku, Version: version}
}

// A change reaches the streams of all replicas, whichever made it: it is read from the table
// that they share.
func TestLiveStockReachesEveryReplica(t *testing.T) {
	f := newFixture(t)
	f.put(t, Stock{SKU: "a", Warehouse: "hull", OnHand: 5}, Stock{SKU: "a", Warehouse: "york", OnHand: 2})
	first, second := f.replica(t).watch(t, named("a", 0)), f.replica(t).watch(t, named("a", 0))
	var version int64
	check := func(step string, want int64) {
		t.Helper()
		newest := version
		for n, s := range []stream{first, second} {
			level, _ := s.until("a")
			if level.GetAvailable() != want || level.GetVersion() <= version {
				t.Errorf("%s: replica %d tells %v, want %d and a version above %d", step, n+1, level, want, version)
			}
			newest = level.GetVersion()
		}
		version = newest
	}
	check("watched", 7)
	in, id := f.inbox(t, time.Minute), uuid.New()
	in.Deliver(servicetest.Message(t, created(id, events.Line{SKU: "a", Quantity: 6}), epoch))
	check("reserved", 1)
	in.Deliver(servicetest.Message(t, orderCancelled(id), epoch))
	check("released", 7)
	if _, err := pgtest.Owner(t, f.kit.Pool).Exec(t.Context(), `update stock set on_hand = on_hand + 1 where warehouse = 'york'`); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]stream{"first": first, "second": second} {
		if level, _ := s.until("a"); level.GetAvailable() != 8 {
			t.Errorf("changed by hand: the %s replica tells %d", name, level.GetAvailable())
		}
	}
}

// A client that begins again, at any replica, is told only what it has not.
func TestLiveStockResumes(t *testing.T) {
	f := newFixture(t)
	f.put(t, Stock{SKU: "a", Warehouse: "hull", OnHand: 5})
	f.put(t, Stock{SKU: "b", Warehouse: "hull", OnHand: 5})
	r := f.replica(t)
	level, _ := r.watch(t, named("a", 0)).until("a")
	r.watch(t, named("a", level.GetVersion())).until("")
	again := f.replica(t).watch(t, named("a", level.GetVersion()))
	again.until("")
	if err := again.Send(&inventoryv1.WatchRequest{Watch: []*inventoryv1.WatchedSku{named("b", 0)}, Unwatch: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	again.until("b")
	f.put(t, Stock{SKU: "a", Warehouse: "hull", OnHand: 4})
	f.put(t, Stock{SKU: "b", Warehouse: "hull", OnHand: 3})
	if l, _ := again.until("b"); l.GetAvailable() != 3 {
		t.Errorf("told %v", l)
	}
	if l, _ := r.watch(t, named("a", level.GetVersion())).until("a"); l.GetAvailable() != 4 || l.GetVersion() <= level.GetVersion() {
		t.Errorf("a client with version %d is told %v", level.GetVersion(), l)
	}
}

// While the stock cannot be read, what was told grows old; what was never read has no age.
func TestLiveStockGrowsOld(t *testing.T) {
	f := newFixture(t)
	f.put(t, Stock{SKU: "a", Warehouse: "hull", OnHand: 5})
	r := f.replica(t)
	s := r.watch(t, named("a", 0))
	s.until("a")
	r.stop()
	_, before := s.until("")
	for after := before; after < before+500; _, after = s.until("") { // each is told about a second later
	}
	if err := s.Send(&inventoryv1.WatchRequest{Watch: []*inventoryv1.WatchedSku{named("b", 7)}}); err != nil {
		t.Fatal(err)
	}
	for {
		answer, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if answer.GetRequests() == 2 {
			if answer.AgeMs != nil {
				t.Errorf("the age is told to be %d ms, but b was never read", answer.GetAgeMs())
			}
			break
		}
	}
}

// However often stock changes while a client is slow: there is one entry for the SKU, and it
// is told the newest.
func TestASlowClientOfLiveStock(t *testing.T) {
	l := newLive(nil, slog.New(slog.DiscardHandler))
	w := &watcher{told: map[string]int64{}, changed: map[string]struct{}{}, unread: map[string]struct{}{}, wake: make(chan struct{}, 1)}
	l.change(w, &inventoryv1.WatchRequest{Watch: []*inventoryv1.WatchedSku{named("a", 0)}})
	for n := range int64(10_000) {
		l.apply([]string{"a"}, map[string]liveLevel{"a": {available: 10_000 - n, version: n + 1}})
	}
	if len(w.changed) != 1 || len(w.told) != 1 {
		t.Errorf("%d entries are kept for one SKU", len(w.changed))
	}
	answer, more := l.take(w)
	if len(answer.GetLevels()) != 1 || more || answer.GetLevels()[0].GetAvailable() != 1 {
		t.Errorf("told %v", answer)
	}
	l.close(w)
	if len(l.skus)+len(l.unread) != 0 {
		t.Errorf("%d SKUs are kept that nobody watches", len(l.skus))
	}
}

func TestLiveStockIsBounded(t *testing.T) {
	f := newFixture(t)
	r := f.replica(t)
	var many []*inventoryv1.WatchedSku
	for n := range maxWatched + 1 {
		many = append(many, named(fmt.Sprint("sku-", n), 0))
	}
	for want, skus := range map[codes.Code][]*inventoryv1.WatchedSku{
		codes.InvalidArgument: {named("a b", 0)}, codes.ResourceExhausted: many,
	} {
		s := r.watch(t, skus...)
		var err error
		for err == nil {
			_, err = s.Recv()
		}
		if status.Code(err) != want {
			t.Errorf("%d SKUs: %v, want %v", len(skus), err, want)
		}
	}
	var last stream
	servicetest.Await(t, "the streams that were refused have ended", func() bool {
		r.live.mu.Lock()
		defer r.live.mu.Unlock()
		return r.live.streams == 0
	})
	for range maxStreams {
		last = r.watch(t)
		last.until("")
	}
	if _, err := r.watch(t).Recv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one stream too many: %v", err)
	}
}
