package rest_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
)

const (
	bodyBudget = 8 << 20
	maxGrowth  = 32 << 20
	largeOnes  = 160 // which take some 80 MiB together
)

// crowd holds the requests of a server between Decode and answer until it is let go.
type crowd struct {
	arrived chan int // the status that each will have
	leave   chan struct{}
	addr    string
	clients sync.WaitGroup
}

func newCrowd(t *testing.T, budget int64) *crowd {
	t.Helper()
	c := &crowd{arrived: make(chan int), leave: make(chan struct{})}
	api := rest.API{Log: slog.New(slog.DiscardHandler)}
	srv := httptest.NewServer(rest.LimitBodies(budget)(api.Handle(func(w http.ResponseWriter, r *http.Request) error {
		var o order
		body, err := rest.Decode(w, r, &o)
		status := http.StatusNoContent
		if err != nil {
			status = rest.Status(fault.Of(err).Kind)
		}
		c.arrived <- status
		<-c.leave
		runtime.KeepAlive(body)
		runtime.KeepAlive(o)
		if err == nil {
			w.WriteHeader(status)
		}
		return err
	})))
	c.addr = srv.URL
	t.Cleanup(func() { close(c.leave); c.clients.Wait(); srv.Close() })
	return c
}

// send has n clients send the body, and counts what becomes of them.
func (c *crowd) send(t *testing.T, n int, body string) (decoded, refused int) {
	t.Helper()
	for range n {
		c.clients.Go(func() {
			res, err := http.Post(c.addr, "application/json", strings.NewReader(body))
			if err != nil {
				return // an answer without a Retry-After is what TestBodies looks for
			}
			defer res.Body.Close()
			if res.StatusCode == 503 && res.Header.Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
		})
	}
	for range n {
		switch status := <-c.arrived; status {
		case http.StatusNoContent:
			decoded++
		case http.StatusServiceUnavailable, http.StatusBadRequest: // that is too slow, on a busy machine
			refused++
		default:
			t.Errorf("status %d", status)
		}
	}
	return decoded, refused
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func ordersOf(line string) string {
	n := (rest.MaxBody-100)/(len(line)+1) - 1
	return `{"customer":"c","lines":[` + strings.Repeat(line+",", n) + line + `]}`
}

// Bodies of the largest size took what they were and several times more, as many of
// them as requests may be under way.
func TestBodiesTogetherAreBounded(t *testing.T) {
	for name, body := range map[string]string{
		"text":   ordersOf(`{"sku":"` + strings.Repeat("x", 60_000) + `","price":{"amount":2500}}`),
		"orders": ordersOf(`{"sku":"SKU-1234-BLUE","price":{"amount":2500}}`),
		"values": ordersOf(`{}`), // each takes far more memory than its text
	} {
		t.Run(name, func(t *testing.T) {
			before := heap()
			c := newCrowd(t, bodyBudget)
			decoded, refused := c.send(t, largeOnes, body)
			grown := heap() - before
			t.Logf("%d decoded, %d refused, %d MiB of heap", decoded, refused, grown>>20)
			if grown > maxGrowth {
				t.Errorf("the heap grew by %d MiB", grown>>20)
			}
			if decoded == 0 || refused == 0 {
				t.Errorf("%d decoded, %d refused", decoded, refused)
			}
			if small, _ := c.send(t, 64, `{"customer":"c","lines":[{"sku":"a"}]}`); small != 64 {
				t.Errorf("%d of 64 small requests went through beside the large ones", small)
			}
		})
	}
}

// What was taken is given back, also by requests that were refused.
func TestTheBudgetOfBodiesIsGivenBack(t *testing.T) {
	body := ordersOf(`{"sku":"SKU-1234-BLUE","price":{"amount":2500}}`)
	h := rest.LimitBodies(1 << 20)(rest.API{Log: slog.New(slog.DiscardHandler)}.Handle(func(w http.ResponseWriter, r *http.Request) error {
		_, err := rest.Decode(w, r, new(order))
		return err
	}))
	for i := range 20 {
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, post(body, "application/json")); w.Code != http.StatusOK {
			t.Fatalf("request %d: %d %s", i, w.Code, w.Body)
		}
		h.ServeHTTP(httptest.NewRecorder(), post(body[:1000]+"rubbish", "application/json"))
		h.ServeHTTP(httptest.NewRecorder(), post(body+body, "application/json"))
	}
}

// A caller that sends its body byte by byte does not keep its place for long.
func TestASlowBodyIsGivenUp(t *testing.T) {
	api := rest.API{Log: slog.New(slog.DiscardHandler)}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 50*time.Millisecond)
		defer cancel()
		api.Handle(func(w http.ResponseWriter, r *http.Request) error {
			_, err := rest.Decode(w, r, new(order))
			return err
		})(w, r.WithContext(ctx))
	}))
	defer srv.Close()
	slow := connect(t, srv.Listener.Addr().String())
	_, err := io.WriteString(slow, "POST / HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	if err != nil {
		t.Fatal(err)
	}
	if a := slow.reply(); a.status != http.StatusBadRequest || a.Code != "body_too_slow" || !a.last {
		t.Errorf("answered %+v", a)
	}
}
