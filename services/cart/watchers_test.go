package cart

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/platform/servicetest/browsers"
)

// crowdRole is what a process of this test is: a replica of cart, or the browsers that watch one.
const crowdRole = "QUADRILLE_TEST_CROWD"

// ofReplica is how many browsers a replica has here at most; each takes a file.
const ofReplica = 17_000

// framesOfReplica is how often a second a replica tells browsers something in the long run, as on two cores.
const framesOfReplica = 4_000

// told to a role, and what it answers.
type (
	roleCommand struct {
		// Watch is a server at which so many Browsers are to ask.
		Watch    string
		Browsers int
		// Change is a level that inventory tells, as its Version.
		Change, Version int64
		// Reset has the browsers count from 0 again.
		Reset bool
		// Having asks how many were told this last.
		Having int64
	}
	roleAnswer struct {
		Addr     string
		CPU      time.Duration
		Memory   uint64
		Watchers int64
		Crowd    *browsers.Stats
		Having   int64
	}
)

// playRole does what the test tells by standard input, until that ends.
func playRole() {
	commands, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	do := serveCrowd()
	if os.Getenv(crowdRole) == "browsers" {
		do = browseCrowd()
	}
	for {
		var c roleCommand
		if commands.Decode(&c) != nil {
			return
		}
		if err := answers.Encode(do(c)); err != nil {
			panic(err)
		}
	}
}

// serveCrowd is a replica of cart without a database: what it has is a port, and levels that
// the test tells.
func serveCrowd() func(roleCommand) roleAnswer {
	log := slog.New(slog.DiscardHandler)
	levels, api, limits := newLevels(nil, framesOfReplica, log), rest.API{Log: log}, rest.NewLimits(512, ofReplica)
	r := chi.NewRouter()
	r.Use(limits.Handler)
	r.Get("/v1/carts/stock", api.Stream((&server{levels: levels, api: api}).streamNamed))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	conns := rest.NewConnLimit(ln, ofReplica+1_000)
	go func() { panic(conns.Server(r).Serve(conns)) }()
	go levels.turns.run(context.Background())
	return func(c roleCommand) roleAnswer {
		if c.Version > 0 {
			levels.take(told(1, 0, levelOf("a", c.Change, c.Version)), time.Now())
		}
		a := roleAnswer{Addr: ln.Addr().String(), CPU: cpuTime(), Watchers: levels.watchers.Load()}
		if c.Reset {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			a.Memory = m.HeapInuse + m.StackInuse
		}
		return a
	}
}

func browseCrowd() func(roleCommand) roleAnswer {
	var c *browsers.Crowd
	return func(command roleCommand) roleAnswer {
		if command.Watch != "" {
			var err error
			if c, err = browsers.Open(netip.MustParseAddrPort(command.Watch), "/v1/carts/stock?sku=a", command.Browsers); err != nil {
				panic(err)
			}
		}
		if command.Having != 0 {
			return roleAnswer{Having: c.Having(command.Having)}
		}
		s := c.Stats(command.Reset)
		return roleAnswer{Crowd: &s}
	}
}

// cpuTime is that of the process so far: unlike times of day it does not depend on what else
// the machine does.
func cpuTime() time.Duration {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used) // it has no reason to fail
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// role is a process that plays one.
type role struct {
	t        *testing.T
	commands *json.Encoder
	answers  *json.Decoder
}

func newRole(t *testing.T, name string) *role {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self) // it ends when its input does
	cmd.Env, cmd.Stderr = append(os.Environ(), crowdRole+"="+name), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	return &role{t, json.NewEncoder(in), json.NewDecoder(bufio.NewReader(out))}
}

func (r *role) do(c roleCommand) (a roleAnswer) {
	r.t.Helper()
	if err := errors.Join(r.commands.Encode(c), r.answers.Decode(&a)); err != nil {
		r.t.Fatal(err)
	}
	return a
}

// shopful is replicas, and for each its browsers.
type shopful struct {
	t                  *testing.T
	replicas, browsers []*role
	n                  int64
	version, told      int64
}

func gather(t *testing.T, n int) *shopful {
	t.Helper()
	s := &shopful{t: t, n: int64(n)}
	count := (n + ofReplica - 1) / ofReplica
	var memory, after uint64
	for i := range count {
		replica, browsers, share := newRole(t, "replica"), newRole(t, "browsers"), n*(i+1)/count-n*i/count
		at := replica.do(roleCommand{Reset: true})
		memory += at.Memory
		browsers.do(roleCommand{Watch: at.Addr, Browsers: share})
		servicetest.Await(t, "all browsers watch", func() bool { return replica.do(roleCommand{}).Watchers == int64(share) })
		s.replicas, s.browsers = append(s.replicas, replica), append(s.browsers, browsers)
	}
	s.change()
	s.await()
	for _, r := range s.replicas {
		after += r.do(roleCommand{Reset: true}).Memory
	}
	each := (after - memory) / uint64(n) //nolint:gosec // some thousands
	t.Logf("%d browsers at %d replicas: %d bytes each", n, count, each)
	if each > 64<<10 {
		t.Errorf("a browser takes %d bytes", each)
	}
	return s
}

// change has inventory tell all replicas a level, which is the time.
func (s *shopful) change() {
	s.version++
	s.told = time.Now().UnixMicro()
	for _, r := range s.replicas {
		r.do(roleCommand{Change: s.told, Version: s.version})
	}
}

// await waits until all browsers have what was told last.
func (s *shopful) await() {
	s.t.Helper()
	servicetest.Await(s.t, "all browsers have the last change", func() bool {
		have := int64(0)
		for _, b := range s.browsers {
			have += b.do(roleCommand{Having: s.told}).Having
		}
		return have == s.n
	})
}

// measure logs how long changes took to the browsers, and what they cost.
func (s *shopful) measure(what string, work func()) (frames int64) {
	s.t.Helper()
	sum := func(reset bool) (cpu, reading time.Duration, all browsers.Stats) {
		for _, r := range s.replicas {
			cpu += r.do(roleCommand{}).CPU
		}
		for _, b := range s.browsers {
			c := b.do(roleCommand{Reset: reset}).Crowd
			reading += c.CPU
			all.Frames += c.Frames
			for i, n := range c.Took {
				all.Took[i] += n
			}
		}
		return cpu, reading, all
	}
	cpu, reading, _ := sum(true)
	work()
	cpu2, reading2, all := sum(false)
	each := func(d time.Duration) time.Duration { return d / time.Duration(max(1, all.Frames)) }
	s.t.Logf("%s: %d frames, change to browser p50 %v, p99 %v, most %v; CPU a frame %v in cart, %v in the browsers",
		what, all.Frames, all.At(0.5), all.At(0.99), all.At(1), each(cpu2-cpu), each(reading2-reading))
	return all.Frames
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
	s := gather(t, n)
	ofEach := n / len(s.replicas)
	rest := time.Duration(ofEach) * time.Second / framesOfReplica // in which what a change took comes back
	s.measure("three changes, one after another", func() {
		for range 3 {
			<-time.After(max(pushEvery, rest))
			s.change()
			s.await()
		}
	})
	began := time.Now()
	frames := s.measure("a change every 100 ms, as inventory tells them", func() {
		for time.Since(began) < 5*time.Second {
			s.change()
			<-time.After(100 * time.Millisecond)
		}
		s.await()
	})
	took := time.Since(began).Seconds()
	most := min(took/pushEvery.Seconds()+2, framesOfReplica*took/float64(ofEach)+1)
	if float64(frames) > most*float64(s.n) {
		t.Errorf("%d frames in %.1f s, want %.1f for each browser at most", frames, took, most)
	}
}
