package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func scenario(t *testing.T, name string, o Overrides) Scenario {
	t.Helper()
	chosen, err := Choose(name, o)
	if err != nil {
		t.Fatal(err)
	}
	return chosen[0]
}

func TestQuantilesAreMeasuredValues(t *testing.T) {
	var hundred []time.Duration
	for i := 100; i > 0; i-- {
		hundred = append(hundred, time.Duration(i)*time.Millisecond)
	}
	for name, test := range map[string]struct {
		took []time.Duration
		want Quantiles
	}{
		"nothing": {nil, Quantiles{}},
		"one":     {[]time.Duration{3 * time.Millisecond}, Quantiles{3, 3, 3, 3}},
		"two":     {[]time.Duration{9 * time.Millisecond, 1 * time.Millisecond}, Quantiles{1, 9, 9, 9}},
		"hundred": {hundred, Quantiles{50, 95, 99, 100}},
	} {
		if got := quantiles(test.took); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

func TestOrdersDependOnTheSeedOnly(t *testing.T) {
	s := scenario(t, "mixed", Overrides{Orders: 200, WarmUp: -1})
	write := func(seed uint64, order []int) map[int]string {
		a := newAuthor(s, seed, "run", "localhost")
		all := map[int]string{}
		for _, i := range order {
			request, _ := a.write(i)
			all[i] = string(request)
		}
		return all
	}
	forth := make([]int, 200)
	for i := range forth {
		forth[i] = i
	}
	back := slices.Clone(forth)
	slices.Reverse(back)
	first, again, other := write(1, forth), write(1, back), write(2, forth)
	same := 0
	for i := range first {
		if first[i] != again[i] {
			t.Fatalf("order %d differs with the order of writing:\n%s\n%s", i, first[i], again[i])
		}
		if first[i] == other[i] {
			same++
		}
	}
	if same > 0 {
		t.Errorf("%d of 200 orders are the same with another seed", same)
	}
}

func TestScenariosOrderWhatTheySay(t *testing.T) {
	for name, test := range map[string]struct {
		fewest, most int
		oneSKU       bool
	}{
		"steady": {1, 3, false}, "basket": {20, 20, false}, "mixed": {1, 3, false}, "flash": {1, 1, true},
	} {
		s := scenario(t, name, Overrides{Orders: 2_000, WarmUp: 100})
		a := newAuthor(s, 7, "run", "localhost")
		skus, fates := map[string]int{}, map[fate]int{}
		for i := s.WarmUp; i < s.total(); i++ {
			request, f := a.write(i)
			fates[f]++
			_, body, _ := bytes.Cut(request, []byte("\r\n\r\n"))
			var order struct {
				Lines []struct {
					SKU      string `json:"sku"`
					Quantity int    `json:"quantity"`
				} `json:"lines"`
			}
			if err := json.Unmarshal(body, &order); err != nil {
				t.Fatalf("%s: %v in %s", name, err, body)
			}
			if n := len(order.Lines); n < test.fewest || n > test.most {
				t.Fatalf("%s: an order of %d lines", name, n)
			}
			seen := map[string]bool{}
			for _, l := range order.Lines {
				if seen[l.SKU] {
					t.Fatalf("%s: %s is twice on an order", name, l.SKU)
				}
				seen[l.SKU] = true
				skus[l.SKU]++
			}
		}
		if (len(skus) == 1) != test.oneSKU {
			t.Errorf("%s: %d SKUs", name, len(skus))
		}
		if top := catalogueSKU(0); !test.oneSKU && skus[top] < 10*skus[catalogueSKU(50)] {
			t.Errorf("%s: the first SKU is bought %d times, the 50th %d times", name, skus[top], skus[catalogueSKU(50)])
		}
		if name == "mixed" {
			expectShare(t, fates, declined, 0.10)
			expectShare(t, fates, short, 0.05)
			expectShare(t, fates, cancelled, 0.02)
		}
	}
}

func expectShare(t *testing.T, fates map[fate]int, f fate, want float64) {
	t.Helper()
	if share := float64(fates[f]) / 2_000; share < want-0.015 || share > want+0.015 {
		t.Errorf("fate %d has a share of %.3f, want about %.2f", f, share, want)
	}
}

func TestFlashHasAFifthOfWhatIsWanted(t *testing.T) {
	for orders, want := range map[int]int64{50_000: 10_000, 500: 100} {
		s := scenario(t, "flash", Overrides{Orders: orders, WarmUp: -1})
		if s.units() != want {
			t.Errorf("%d orders: %d units, want %d", orders, s.units(), want)
		}
	}
}

// shop answers orders as checkout does, after asking tell what to do.
func shop(t *testing.T, tell func(n int, w http.ResponseWriter) bool) string {
	t.Helper()
	var mu sync.Mutex
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		n++
		if tell(n, w) {
			w.WriteHeader(http.StatusAccepted)
			_, _ = w.Write([]byte(`{"id":"01900000-0000-7000-8000-000000000000","order_id":""}` + "\n"))
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestOpenLoopCountsAStall(t *testing.T) {
	const stall = 300 * time.Millisecond
	addr := shop(t, func(n int, _ http.ResponseWriter) bool {
		if n == 50 {
			<-time.After(stall)
		}
		return true
	})
	// One connection: while it stalls, a naive client would simply not ask.
	s := scenario(t, "steady", Overrides{Orders: 200, Rate: 500, Connections: 1})
	l := newLoad(s, 1, "run", addr, addr)
	if err := l.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	late := 0
	for i, p := range l.placed {
		if want := s.intended(i); p.intended != want {
			t.Fatalf("order %d is due after %s, want %s", i, p.intended, want)
		}
		if p.answered-p.intended > stall/3 {
			late++
		}
	}
	// Those due within the first two thirds of the stall, at least.
	if want := 80; late < want {
		t.Errorf("%d orders were late, want at least %d", late, want)
	}
}

func TestClosedLoopKeepsToItsBound(t *testing.T) {
	addr := shop(t, func(int, http.ResponseWriter) bool { return true })
	s := scenario(t, "steady", Overrides{Orders: 100, InFlight: 10, Connections: 20})
	l := newLoad(s, 1, "run", addr, addr)
	ended := make(chan error, 1)
	go func() { ended <- l.run(t.Context()) }()
	for settled := 0; settled < 100; settled += 10 {
		await(t, func() bool { return int(l.accepted.Load()) == settled+10 })
		l.gate.settled(settled + 10)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, reached func() bool) {
	t.Helper()
	for until := time.Now().Add(time.Minute); !reached(); <-time.After(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("not reached")
		}
	}
}

func TestBuyersComeBackWhenTold(t *testing.T) {
	addr := shop(t, func(n int, w http.ResponseWriter) bool {
		if n > 2 {
			return true
		}
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		return false
	})
	l := newLoad(scenario(t, "burst", Overrides{Orders: 20, Connections: 20}), 1, "run", addr, addr)
	if err := l.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l.shed.Load() != 2 || l.accepted.Load() != 20 {
		t.Errorf("%d told to come back and %d accepted, want 2 and 20", l.shed.Load(), l.accepted.Load())
	}
	last := slices.MaxFunc(l.placed, func(a, b placing) int { return int(a.answered - b.answered) })
	if last.intended != 0 || last.answered < time.Second {
		t.Errorf("a buyer who came back waited %s, want more than a second since the start", last.answered-last.intended)
	}
}

func TestInterruptedLoadEnds(t *testing.T) {
	addr := shop(t, func(int, http.ResponseWriter) bool { return true })
	ctx, cancel := context.WithCancel(t.Context())
	l := newLoad(scenario(t, "steady", Overrides{Orders: 100, InFlight: 10}), 1, "run", addr, addr)
	ended := make(chan error, 1)
	go func() { ended <- l.run(ctx) }()
	await(t, func() bool { return l.accepted.Load() == 10 })
	cancel()
	if err := <-ended; err == nil {
		t.Error("a load that was interrupted reports success")
	}
}

func TestStrangeAnswersAreErrors(t *testing.T) {
	for name, answer := range map[string]string{
		"not HTTP":     "hello\r\n",
		"no length":    "HTTP/1.1 200 OK\r\n\r\n",
		"wrong length": "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
		"cut off":      "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1024))
			_, _ = conn.Write([]byte(answer))
			_ = conn.Close()
		}()
		w := newWire(listener.Addr().String())
		if _, err := w.do(t.Context(), plainRequest(http.MethodGet, "x", "/", "")); err == nil {
			t.Errorf("%s: no error", name)
		}
		_ = listener.Close()
	}
}

func TestThroughputLeavesOutTheEnds(t *testing.T) {
	// 1,000 a second, each 0.5 s under way: 500 in flight.
	h := &history{warmUp: 1_000, closed: true}
	for i := range 6_000 {
		at := time.Duration(i) * time.Millisecond
		h.orders = append(h.orders, course{intended: at, answered: at + 1, settled: at + 500*time.Millisecond})
	}
	if got := h.throughput(); got < 999 || got > 1_001 {
		t.Errorf("closed loop: %.1f orders/s, want 1000", got)
	}
	h.closed = false
	if got := h.throughput(); got < 908 || got > 911 {
		t.Errorf("whole time: %.1f orders/s, want 5000 in 5.5 s", got)
	}
}

func TestCompareShowsRatios(t *testing.T) {
	a := Results{
		"steady": {Figures: &Figures{OrdersPerSecond: 1000, SettledMS: Quantiles{P99: 80}}},
		"flash":  {}, "only here": {},
	}
	b := Results{
		"steady": {Figures: &Figures{OrdersPerSecond: 1500, SettledMS: Quantiles{P99: 40}}},
		"flash":  {Figures: &Figures{}},
	}
	var out bytes.Buffer
	if err := Compare(&out, a, b); err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(out.String()) {
		fields := strings.Fields(line)
		rows[strings.Join(fields[:min(3, len(fields))], " ")] = strings.Join(fields, " ")
	}
	if got := rows["steady orders/s 1000"]; got != "steady orders/s 1000 1500 1.50" {
		t.Errorf("throughput row is %q in\n%s", got, out.String())
	}
	if got := rows["steady settled p99"]; got != "steady settled p99 ms 80.0 40.0 0.50" {
		t.Errorf("latency row is %q in\n%s", got, out.String())
	}
	if !strings.Contains(out.String(), "not verified") || strings.Contains(out.String(), "only here") {
		t.Errorf("unexpected scenarios in\n%s", out.String())
	}
}

func TestArchiveKeepsTheNewestOfEachScenario(t *testing.T) {
	dir := t.TempDir()
	kept, err := newArchive(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	figures := &Figures{OrdersPerSecond: 5, Timeline: []Point{{1, 5, 2, 3}, {2, 6, 2, 3}}}
	for _, r := range []*Result{
		{Scenario: "steady", Verified: true, Figures: figures},
		{Scenario: "flash", Verified: false, Faults: []string{"a hole"}},
	} {
		if err := kept.keep(r); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "latest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"orders_per_second", "bare_chain_per_second", "ratio_to_bare_chain", "settled_ms", "http_ms", "oversold", "verified",
	} {
		if _, ok := all["steady"][name]; !ok {
			t.Errorf("latest.json lacks %s", name)
		}
	}
	if _, ok := all["flash"]["orders_per_second"]; ok || all["flash"]["verified"] != false {
		t.Errorf("a run that was not verified has figures: %v", all["flash"])
	}
	picture, err := os.ReadFile(filepath.Join(kept.run, "steady.svg"))
	if err != nil || !bytes.Contains(picture, []byte("<polyline")) {
		t.Errorf("no picture: %v", err)
	}
}

func TestBareDaprComponentDiffersInTopicsOnly(t *testing.T) {
	original, err := os.ReadFile(filepath.Join("..", "..", "components", "local", "pubsub.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := forBareDapr(original)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"bench1=bench.hop4,bench1.deadletter", "bench4=bench.hop3,bench4.deadletter", "- bench4",
		"envRef: QUADRILLE_REDIS_HOST", "envRef: QUADRILLE_REDIS_PASSWORD",
	} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for _, not := range []string{"checkout", "secret"} {
		if bytes.Contains(text, []byte(not)) {
			t.Errorf("%q of the services in\n%s", not, text)
		}
	}
}

func TestThroughputAndLatenciesOfEachKindOfOrder(t *testing.T) {
	const ms = time.Millisecond
	var f Figures
	f.fill(&history{orders: []course{
		{answered: 1 * ms, settled: 40 * ms, told: 30 * ms, decided: 10 * ms},
		{answered: 3 * ms, settled: 60 * ms, told: 50 * ms, refused: true},
		{}, // turned away
	}})
	for name, q := range map[string]struct{ got, want Quantiles }{
		"HTTP":     {f.HTTPMS, Quantiles{1, 3, 3, 3}},
		"settled":  {f.SettledMS, Quantiles{40, 60, 60, 60}},
		"told":     {f.ToldMS, Quantiles{50, 50, 50, 50}},
		"approved": {f.ApprovedMS, Quantiles{20, 20, 20, 20}},
	} {
		if q.got != q.want {
			t.Errorf("%s: %+v, want %+v", name, q.got, q.want)
		}
	}
}

// An office opens the gates of orders late, and some for the first time once all
// orders are placed: every order is approved, once.
func TestEveryOrderIsApprovedOnce(t *testing.T) {
	var mu sync.Mutex
	approved := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id, found := strings.CutSuffix(r.URL.Path, "/approval"); found {
			mu.Lock()
			approved[id]++
			mu.Unlock()
			return
		}
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte(`{"id":"01900000-0000-7000-8000-000000000000"}`))
	}))
	t.Cleanup(server.Close)
	addr := strings.TrimPrefix(server.URL, "http://")
	l := newLoad(scenario(t, "b2b", Overrides{Orders: 5, InFlight: 6}), 1, "run", addr, addr)
	ended := make(chan error, 1)
	go func() { ended <- l.run(t.Context()) }()
	await(t, func() bool { return int(l.accepted.Load()) == len(l.placed) })
	for i := range l.placed {
		if len(ended) > 0 {
			t.Fatal("ended before all was decided")
		}
		l.wishes <- wish{i, string(rune('a' + i))}
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if len(approved) != len(l.placed) {
		t.Errorf("approved %v, want %d orders", approved, len(l.placed))
	}
	for i, p := range l.placed {
		if p.decided == 0 {
			t.Errorf("order %d has no time of its decision", i)
		}
	}
}

// A server may close a connection between two requests. The second is sent again.
func TestWireSendsAgainOnAConnectionThatWasClosed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	closed := make(chan struct{})
	go func() { // each connection has one answer
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
			_ = conn.Close()
			closed <- struct{}{}
		}
	}()
	w := newWire(listener.Addr().String())
	defer w.close()
	for range 3 {
		a, err := w.do(t.Context(), plainRequest("GET", "shop", "/", ""))
		if err != nil || a.status != 200 {
			t.Fatalf("answered %+v, %v", a, err)
		}
		<-closed
	}
	_ = listener.Close()
	if _, err := w.do(t.Context(), plainRequest("GET", "shop", "/", "")); err == nil {
		t.Error("it was answered by nobody")
	}
}
