package cart

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"google.golang.org/grpc/test/bufconn"

	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/servicetest"
)

// crowd is many browsers on one SKU, by real connections of a real server, in memory.
type crowd struct {
	levels  *levels
	changed sync.Map // available, when it was told
	mu      sync.Mutex
	took    []time.Duration
	last    atomic.Int64 // what is told last
	have    atomic.Int64 // browsers that have it
	cpu     time.Duration
	reading sync.WaitGroup
}

func gather(t *testing.T, n int) *crowd {
	t.Helper()
	c := &crowd{levels: newLevels(nil, slog.New(slog.DiscardHandler))}
	api := rest.API{Log: slog.New(slog.DiscardHandler)}
	limits := rest.NewLimits(512, n)
	r := chi.NewRouter()
	r.Use(limits.Handler)
	r.Get("/v1/carts/stock", api.Stream((&server{levels: c.levels, api: api}).streamNamed))
	ln := bufconn.Listen(1 << 10) // in memory: files are few
	srv := rest.NewServer(r)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	t.Cleanup(func() {
		limits.EndStreams()
		c.reading.Wait()
		_ = srv.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	for range n {
		conn, err := ln.DialContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.reading.Go(func() { c.read(t, conn) })
	}
	servicetest.Await(t, "all browsers watch", func() bool { return c.levels.watchers.Load() == int64(n) })
	return c
}

// read is a browser.
func (c *crowd) read(t *testing.T, conn net.Conn) {
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /v1/carts/stock?sku=a HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Error(err)
		return
	}
	lines := bufio.NewReaderSize(conn, 256)
	for {
		line, err := lines.ReadString('\n')
		if err != nil || line == "0\r\n" { // the stream's end
			return
		}
		_, number, found := strings.Cut(line, `"available":`)
		number, _, _ = strings.Cut(number, ",")
		available, err := strconv.ParseInt(number, 10, 64)
		if !found || err != nil {
			continue
		}
		if at, known := c.changed.Load(available); known {
			took := time.Since(at.(time.Time))
			c.mu.Lock()
			c.took = append(c.took, took)
			c.mu.Unlock()
		}
		if available == c.last.Load() {
			c.have.Add(1)
		}
	}
}

// change has inventory tell a level.
func (c *crowd) change(available, version int64) {
	c.last.Store(available)
	c.have.Store(0)
	c.changed.Store(available, time.Now())
	c.levels.take(told(1, 0, levelOf("a", available, version)), time.Now())
}

// cpuTime is that of the process so far: unlike times of day it does not depend on what else
// the machine does.
func cpuTime() time.Duration {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used) // it has no reason to fail
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// report logs how long changes took to the browsers.
func (c *crowd) report(t *testing.T, what string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.took)
	at := func(share float64) time.Duration { return c.took[int(share*float64(len(c.took)-1))] }
	cpu := cpuTime()
	t.Logf("%s: %d frames, change to browser p50 %v, p99 %v, most %v; CPU a frame %v, both ends",
		what, len(c.took), at(0.5), at(0.99), at(1), (cpu-c.cpu)/time.Duration(len(c.took)))
	c.took, c.cpu = nil, cpu
}

// Many browsers watch one SKU. Each costs a bounded piece of memory, a change reaches all of
// them, and while it changes all the time each is told what is newest at its turn, at a
// bounded rate. With QUADRILLE_TEST_WATCHERS=50000 this is the measurement in
// docs/performance.md.
func TestManyWatchers(t *testing.T) {
	n := 1_000
	if v, err := strconv.Atoi(os.Getenv("QUADRILLE_TEST_WATCHERS")); err == nil {
		n = v
	}
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := memory()
	c := gather(t, n)
	all := func() bool { return c.have.Load() >= int64(n) }
	c.change(1_000_000, 1)
	servicetest.Await(t, "all browsers have the first level", all)
	c.took, c.cpu = nil, cpuTime()
	each := (memory() - before) / uint64(n) //nolint:gosec // some thousands
	t.Logf("%d browsers: %d bytes each, both ends of the connection", n, each)
	if each > 64<<10 {
		t.Errorf("a browser takes %d bytes", each)
	}
	for round := range int64(3) {
		<-time.After(c.levels.turn())
		c.change(2_000_000+round, 2+round)
		servicetest.Await(t, "all browsers have the change", all)
	}
	c.report(t, "three changes, one after another")

	began, version := time.Now(), int64(10)
	for ; time.Since(began) < 2*time.Second; version++ {
		c.change(3_000_000+version, version)
		<-time.After(10 * time.Millisecond)
	}
	servicetest.Await(t, "all browsers have the last change", all)
	took := time.Since(began)
	frames := len(c.took)
	if most := int(took/c.levels.turn()+2) * n; frames > most {
		t.Errorf("%d frames in %v, want %d at most", frames, took, most)
	}
	c.report(t, "a change every 10 ms")
}
