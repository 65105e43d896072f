package cart

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"google.golang.org/grpc"

	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/servicetest"
)

// scripted is the other end of the streams: a test says what it tells. The services' own two
// ends are tested together in services/stock_test.go.
type scripted struct {
	inventoryv1.UnimplementedLiveStockServer
	// asked are the requests of all streams, tell what the stream sends next.
	asked chan *inventoryv1.WatchRequest
	tell  chan *inventoryv1.WatchResponse
	// begun counts the streams.
	begun chan struct{}
}

func (s *scripted) Watch(stream grpc.BidiStreamingServer[inventoryv1.WatchRequest, inventoryv1.WatchResponse]) error {
	s.begun <- struct{}{}
	go func() {
		for {
			req, err := stream.Recv()
			if err != nil {
				return
			}
			s.asked <- req
		}
	}()
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case answer := <-s.tell:
			if answer == nil {
				return nil // the stream breaks
			}
			if err := stream.Send(answer); err != nil {
				return err
			}
		}
	}
}

// followed are levels that follow a scripted inventory, which may be silent for long.
func followed(t *testing.T) (*levels, *scripted) {
	t.Helper()
	return followedFor(t, time.Hour)
}

// followedFor are levels that give up a scripted inventory after so long a silence.
func followedFor(t *testing.T, silence time.Duration) (*levels, *scripted) {
	t.Helper()
	s := &scripted{asked: make(chan *inventoryv1.WatchRequest, 100), tell: make(chan *inventoryv1.WatchResponse), begun: make(chan struct{}, 100)}
	conn := servicetest.ServeCalls(t, func(r grpc.ServiceRegistrar) { inventoryv1.RegisterLiveStockServer(r, s) })
	v := newLevels(conn, 4_000, slog.New(slog.DiscardHandler))
	v.silence = silence
	servicetest.Run(t, v.run)
	<-s.begun
	if req := <-s.asked; len(req.GetWatch()) != 0 {
		t.Errorf("the first request is %v, want an empty one", req)
	}
	return v, s
}

func told(requests int64, ageMS int64, list ...*inventoryv1.LiveLevel) *inventoryv1.WatchResponse {
	return &inventoryv1.WatchResponse{Requests: requests, AgeMs: &ageMS, Levels: list}
}

func levelOf(sku string, available, version int64) *inventoryv1.LiveLevel {
	return &inventoryv1.LiveLevel{Sku: sku, Available: available, Version: version}
}

// browser follows a stream of stock.
type browser struct {
	res    *http.Response
	lines  *bufio.Reader
	cancel context.CancelFunc
	lastID string
	// comeBack is what the server asked it to wait for when it loses the stream.
	comeBack string
}

// serveStock serves the streams of a replica, and returns where.
func serveStock(t *testing.T, v *levels) *httptest.Server {
	t.Helper()
	api := rest.API{Log: slog.New(slog.DiscardHandler)}
	s := &server{levels: v, api: api}
	limits := rest.NewLimits(512, 20_000)
	r := chi.NewRouter()
	r.Use(limits.Handler)
	r.Get("/v1/carts/stock", api.Stream(s.streamNamed))
	srv := httptest.NewServer(r)
	t.Cleanup(func() { limits.EndStreams(); srv.CloseClientConnections(); srv.Close() })
	return srv
}

func browse(t *testing.T, url, lastID string) *browser {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	b := &browser{res: res, lines: bufio.NewReader(res.Body), cancel: cancel}
	if b.comeBack, err = b.lines.ReadString('\n'); err != nil || !strings.HasPrefix(b.comeBack, "retry: ") {
		t.Fatalf("the stream begins with %q, %v", b.comeBack, err)
	}
	return b
}

// stock is one SKU in a frame.
type stock struct {
	SKU string `json:"sku"`
	shown
}

// framed returns the levels of a frame.
func framed(t *testing.T, frame []byte) (list []stock) {
	t.Helper()
	for line := range strings.Lines(string(frame)) {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			var f struct {
				Levels []stock `json:"levels"`
			}
			if err := json.Unmarshal([]byte(data), &f); err != nil {
				t.Fatalf("%s: %v", data, err)
			}
			return f.Levels
		}
	}
	return nil
}

// next returns the levels of the next frame by SKU, or nil where the stream ended.
func (b *browser) next() (levels map[string]stock) {
	for {
		line, err := b.lines.ReadString('\n')
		if err != nil {
			return nil
		}
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			b.lastID = strings.TrimSpace(id)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			var frame struct {
				Levels []stock `json:"levels"`
			}
			if json.Unmarshal([]byte(data), &frame) != nil {
				return nil
			}
			levels = make(map[string]stock)
			for _, s := range frame.Levels {
				levels[s.SKU] = s
			}
		}
		if line == "\n" && levels != nil {
			return levels
		}
	}
}

func is(s stock, available int64) bool { return s.Available != nil && *s.Available == available }

// Levels come to browsers; those that are older than what is shown do not.
func TestBrowsersSeeTheNewestStock(t *testing.T) {
	v, inventory := followed(t)
	b := browse(t, serveStock(t, v).URL+"/v1/carts/stock?sku=b&sku=a", "")
	if f := b.next(); len(f) != 2 || f["a"].Available != nil || f["a"].AgeMS != nil {
		t.Errorf("before inventory has told anything the browser sees %v", f)
	}
	if req := <-inventory.asked; len(req.GetWatch()) != 2 {
		t.Errorf("inventory was asked for %v", req)
	}
	inventory.tell <- told(2, 5, levelOf("a", 9, 4))
	if f := b.next(); !is(f["a"], 9) || len(f) != 1 {
		t.Errorf("the browser sees %v, want 9 of a", f)
	}
	inventory.tell <- told(2, 5, levelOf("a", 12, 3), levelOf("b", 1, 1))
	if f := b.next(); !is(f["b"], 1) || len(f) != 1 {
		t.Errorf("the browser sees %v, want 1 of b, and no older level of a", f)
	}
}

// Inventory is killed: what is shown stays and grows old, it does not become nothing. When
// inventory is back, the stream goes on from the versions that are here.
func TestInventoryIsKilled(t *testing.T) {
	v, inventory := followed(t)
	skus, now := []string{"a"}, time.Now()
	v.peek(skus, now)
	<-inventory.asked
	inventory.tell <- told(2, 40, levelOf("a", 9, 4))
	servicetest.Await(t, "the level is known", func() bool { return v.peek(skus, time.Now())["a"].Available != nil })
	age := func() int64 { return *v.peek(skus, time.Now())["a"].AgeMS }
	inventory.tell <- told(2, 5_000)
	servicetest.Await(t, "the level is as old as inventory says", func() bool { return age() >= 5_000 })
	inventory.tell <- told(2, 0)
	servicetest.Await(t, "the level is young again", func() bool { return age() < 5_000 })
	inventory.tell <- nil
	<-inventory.begun
	for range 2 {
		if req := <-inventory.asked; len(req.GetWatch()) > 0 && req.GetWatch()[0].GetVersion() != 4 {
			t.Errorf("the new stream begins with %v, want version 4", req)
		} else if len(req.GetWatch()) > 0 {
			break
		}
	}
	seen := v.peek(skus, time.Now().Add(time.Hour))["a"]
	if seen.Available == nil || *seen.Available != 9 || *seen.AgeMS < time.Hour.Milliseconds() {
		t.Errorf("an hour later it shows %+v, want 9 that are an hour old", seen)
	}
	const old = 7_200_000
	inventory.tell <- told(0, old) // of which this level is no part: inventory has not heard of it again
	inventory.tell <- told(0, old, levelOf("a", 8, 5))
	servicetest.Await(t, "the new level is known", func() bool { return *v.peek(skus, time.Now())["a"].Available == 8 })
	if got := age(); got >= old {
		t.Errorf("before inventory has taken in what is watched the level is %d ms old", got)
	}
	inventory.tell <- told(1, old)
	servicetest.Await(t, "the level is as old as inventory says again", func() bool { return age() >= old })
}

// A stream that says nothing is given up after some seconds, from its beginning on and later.
func TestSilenceEndsTheStream(t *testing.T) {
	_, inventory := followedFor(t, maxSilence)
	<-inventory.begun
	inventory.tell <- told(1, 0)
	<-inventory.begun
}

// A slow browser takes up no more than one version for each SKU, and is told the newest.
func TestASlowBrowser(t *testing.T) {
	v := newLevels(nil, 4_000, slog.New(slog.DiscardHandler))
	w := v.watchStock([]string{"a"}, "", time.Now())
	for n := range int64(10_000) {
		v.take(told(1, 0, levelOf("a", 10_000-n, n+1)), time.Now())
	}
	if waits := v.turns.waits(); waits != 1 || len(w.sent) != 1 {
		t.Errorf("it waits %d times and %d versions are kept", waits, len(w.sent))
	}
	list := framed(t, w.frame(false, time.Now()))
	if len(list) != 1 || !is(list[0], 1) || w.frame(false, time.Now()) != nil {
		t.Errorf("the browser is told %+v, want the newest, once", list)
	}
	w.end(time.Now())
	v.forget(time.Now().Add(time.Second))
	if len(v.skus) != 0 || v.watchers.Load() != 0 {
		t.Errorf("%d SKUs and %d watchers are left", len(v.skus), v.watchers.Load())
	}
}

// While inventory is away nothing piles up, however many SKUs are looked at.
func TestWatchedSKUsAreBounded(t *testing.T) {
	for _, streaming := range []bool{false, true} {
		v := newLevels(nil, 4_000, slog.New(slog.DiscardHandler))
		v.streaming = streaming
		for n := range 3 * maxSKUs {
			v.peek([]string{fmt.Sprint("sku-", n)}, time.Now())
			if streaming {
				v.next(false)
			}
		}
		if len(v.skus) > maxSKUs || len(v.watch) > maxSKUs || len(v.asked) > maxSKUs {
			t.Errorf("streaming %v: %d SKUs are kept, %d to be watched, %d asked for", streaming, len(v.skus), len(v.watch), len(v.asked))
		}
	}
}

// Where browsers watch as many SKUs as may be, others are shown without, and turned away, until
// one of those ends.
func TestSKUsThatAreLookedAtStayWatched(t *testing.T) {
	v, now := newLevels(nil, 4_000, slog.New(slog.DiscardHandler)), time.Now()
	var all []*watcher
	for n := range maxSKUs {
		all = append(all, v.watchStock([]string{fmt.Sprint("sku-", n)}, "", now))
	}
	later := now.Add(time.Hour)
	if shown := v.peek([]string{"one-more"}, later); len(shown) > 0 || len(v.skus) != maxSKUs {
		t.Errorf("one more shows %v, %d are kept", shown, len(v.skus))
	}
	if v.watchStock([]string{"sku-0", "one-more"}, "", later) != nil || v.watchers.Load() != maxSKUs || len(v.skus["sku-0"].watchers) != 1 {
		t.Errorf("one more is watched; there are %d watchers", v.watchers.Load())
	}
	all[0].end(now)
	if v.watchStock([]string{"one-more"}, "", later) == nil || v.skus["sku-0"] != nil {
		t.Error("the place of a browser that went is not free")
	}
}

// What is watched again is not unwatched by a request that follows.
func TestUnwatchedGoesFirst(t *testing.T) {
	v := newLevels(nil, 4_000, slog.New(slog.DiscardHandler))
	v.streaming = true
	at := time.Now()
	var skus []string
	for n := range 2*maxWatch + 1 {
		skus = append(skus, fmt.Sprint("sku-", n))
	}
	v.peek(skus, at)
	for v.next(false) != nil {
	}
	v.forget(at.Add(time.Second))
	v.peek(skus, at)
	watched := make(map[string]bool)
	for req := v.next(false); req != nil; req = v.next(false) {
		for _, sku := range req.GetUnwatch() {
			watched[sku] = false
		}
		for _, s := range req.GetWatch() {
			watched[s.GetSku()] = true
		}
	}
	for _, sku := range skus {
		if !watched[sku] {
			t.Fatalf("%s is not watched in the end", sku)
		}
	}
}

// A replica dies with its browsers attached: they come to another one, spread over some
// seconds, go on with what they had, and inventory is asked once for what they all watch.
func TestAReplicaDiesWithItsBrowsers(t *testing.T) {
	const browsers = 100
	one, inventory := followed(t)
	other, behind := followed(t)
	first, second := serveStock(t, one), serveStock(t, other)
	path := "/v1/carts/stock?sku=a"
	attached, waits := make([]*browser, browsers), make(map[string]bool)
	for n := range attached {
		attached[n] = browse(t, first.URL+path, "")
		attached[n].next()
		waits[attached[n].comeBack] = true
	}
	if len(waits) < browsers/4 {
		t.Errorf("%d browsers are to come back at %d different times", browsers, len(waits))
	}
	inventory.tell <- told(2, 0, levelOf("a", 9, 4))
	for _, b := range attached {
		if f := b.next(); !is(f["a"], 9) {
			t.Fatalf("a browser sees %v", f)
		}
	}
	other.peek([]string{"a"}, time.Now())
	<-behind.asked
	behind.tell <- told(2, 0, levelOf("a", 9, 4))
	servicetest.Await(t, "the other replica knows the level", func() bool { return other.peek([]string{"a"}, time.Now())["a"].Available != nil })
	first.CloseClientConnections()
	var coming sync.WaitGroup
	seen := make(chan map[string]stock, browsers)
	for _, b := range attached {
		coming.Go(func() {
			if b.next() != nil {
				t.Error("a dead replica tells something")
			}
			seen <- browse(t, second.URL+path, b.lastID).next()
		})
	}
	servicetest.Await(t, "all browsers are back", func() bool { return other.watchers.Load() == browsers })
	behind.tell <- told(2, 0, levelOf("a", 3, 5))
	coming.Wait()
	for range browsers {
		if f := <-seen; !is(f["a"], 3) || len(f) != 1 {
			t.Fatalf("a browser that came back sees %v first, want what is new: 3", f)
		}
	}
	if len(behind.asked) > 0 {
		t.Errorf("inventory was asked again: %v", <-behind.asked)
	}
}

func TestLastEventID(t *testing.T) {
	v := newLevels(nil, 4_000, slog.New(slog.DiscardHandler))
	w := v.watchStock([]string{"b", "a", "b"}, "", time.Now())
	v.take(told(1, 0, levelOf("a", 9, 40), levelOf("b", 0, 1)), time.Now())
	if len(w.levels) != 2 {
		t.Fatalf("%d levels for two SKUs", len(w.levels))
	}
	w.frame(false, time.Now())
	id := string(w.appendID(nil))
	if list := v.watchStock([]string{"a", "b"}, id, time.Now()).frame(false, time.Now()); list != nil {
		t.Errorf("with the id %s it is told %s again", id, list)
	}
	for _, other := range []string{"", "x", "a.b.c", id + ".1", strings.Repeat(".", 10_000), listOf([]string{"a", "b"}) + ".-5.1", listOf([]string{"a", "b"}) + ".1"} {
		if list := v.watchStock([]string{"a", "b"}, other, time.Now()); len(framed(t, list.frame(false, time.Now()))) != 2 {
			t.Errorf("with the id %.20q it is not told all", other)
		}
	}
	if list := v.watchStock([]string{"a", "c"}, id, time.Now()); len(framed(t, list.frame(false, time.Now()))) != 2 {
		t.Errorf("with the id of another list it is not told all")
	}
}
