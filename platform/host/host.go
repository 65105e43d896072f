// Package host is the process that services run in: command line, signals, memory,
// traces, and the ordered start and stop. The main of a program only calls Main.
package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	runtimetrace "runtime/trace"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"quadrille.internal/platform/config"
	"quadrille.internal/platform/dapr"
	"quadrille.internal/platform/inprocess"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/telemetry"
	"quadrille.internal/platform/transport"
)

const (
	// stopTimeout leaves a second of the ten that a stop may take.
	stopTimeout  = 9 * time.Second
	closeTimeout = 500 * time.Millisecond
	gcPercent    = 200

	flightWindow = 10 * time.Second
	flightBytes  = 16 << 20

	// together is what a program of several services is called.
	together = "quadrille"
)

// Main does what the command line says: without arguments it runs the services until
// SIGTERM or SIGINT, and `migrate` brings their databases up to date. It ends the
// process: 0 after a whole stop or a migration, 2 for a wrong command line, 1 otherwise.
func Main(specs ...service.Spec) {
	// Who reads our log may end before us (dapr run does when killed); the next line must
	// not be our last.
	signal.Ignore(syscall.SIGPIPE)
	if os.Getenv("GOGC") == "" {
		// Half as many collections for a third more of a small heap.
		debug.SetGCPercent(gcPercent)
	}
	if c, err := parse(specs, os.Args[1:]); err == nil {
		limit, _ := memoryLimit(os.DirFS("/"), os.Getenv, len(c.chosen))
		debug.SetMemoryLimit(limit)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := Command(ctx, specs, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr)
	stop()
	if code != 0 {
		os.Exit(code)
	}
}

// Run runs services of a program until ctx ends. lookup gives the environment, logs go
// to w.
func Run(ctx context.Context, specs []service.Spec, lookup func(string) (string, bool), w io.Writer) error {
	return run(ctx, program{specs: specs, chosen: specs, shared: len(specs) > 1}, lookup, w)
}

// program is what a process runs: the chosen ones of its services.
type program struct {
	specs, chosen []service.Spec
	// shared says that it is made for several services, however many are installed.
	shared bool
}

// name returns how the program is called: as its service, where it has one.
func (p program) name() string {
	if p.several() {
		return together
	}
	return p.specs[0].Name
}

// several reports whether services share the process. Their settings have prefixes then,
// whichever of them it runs.
func (p program) several() bool { return p.shared }

// reader returns the reader of a service's settings.
func (p program) reader(all *config.Reader, spec service.Spec) *config.Reader {
	if p.several() {
		return all.For(spec.Name)
	}
	return all
}

func (p program) migrate(spec service.Spec) string {
	if p.several() {
		return together + " migrate " + spec.Name
	}
	return spec.Name + " migrate"
}

func (p program) names() string {
	var names []string
	for _, s := range p.chosen {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}

// settings are those of the process.
type settings struct {
	traceRatio int
	flight     bool
	drain      time.Duration
	exports    bool // spans, to an OTLP endpoint
}

func readSettings(r *config.Reader) settings {
	return settings{
		traceRatio: r.Int(config.TracePercent, 100, 0, 100),
		flight:     r.Choice(config.Flight, "off", "off", "on") == "on",
		drain:      r.Pause(config.Drain),
		exports:    r.String("OTEL_EXPORTER_OTLP_ENDPOINT", "") != "",
	}
}

// process is a program that is running.
type process struct {
	program
	set      settings
	log      *slog.Logger
	lookup   func(string) (string, bool)
	logs     io.Writer // of all services
	network  transport.Network
	bridge   *bridge // nil where no service is ever outside
	layers   *layers
	recorder *runtimetrace.FlightRecorder
	closers  []func()

	mu        sync.Mutex
	instances map[string]*service.Instance // those that run, by service
}

func run(ctx context.Context, p program, lookup func(string) (string, bool), w io.Writer) error {
	for _, spec := range p.chosen {
		if err := spec.Check(); err != nil {
			return err
		}
	}
	w = &sharedWriter{w: w}
	reader := config.NewReader(lookup)
	h := &process{
		program: p, set: readSettings(reader), log: telemetry.NewLog(w, slog.LevelInfo, p.name()), lookup: lookup, logs: w,
		layers: newLayers(), instances: make(map[string]*service.Instance),
	}
	defer h.close() //nolint:contextcheck // it must happen after ctx has ended
	if err := h.open(ctx, reader); err != nil {
		return err
	}
	if err := h.each(ctx, (*service.Instance).Listen); err != nil {
		return err
	}
	if h.bridge != nil {
		if err := h.bridge.listen(ctx, h); err != nil {
			return err
		}
	}
	if err := h.each(ctx, (*service.Instance).Prepare); err != nil {
		return err
	}
	limit, from := memoryLimit(os.DirFS("/"), os.Getenv, len(p.chosen))
	h.log.InfoContext(ctx, "running", "services", p.names(), "memory_limit", limit, "memory_limit_from", from)
	if topics := p.unheard(); topics != nil && h.bridge == nil {
		h.log.WarnContext(ctx, "events wait in the outbox for services that this process does not run", "topics", topics)
	}
	running, cancel := h.drain(ctx)
	defer cancel()
	err := h.layers.run(running, stopTimeout, h.stacks())
	h.log.InfoContext(context.WithoutCancel(ctx), "stopped", "err", err)
	return err
}

// open makes what needs neither network nor database, and names all wrong settings.
func (p *process) open(ctx context.Context, reader *config.Reader) error {
	stopTracing, err := telemetry.StartTracing(ctx, telemetry.TraceConfig{
		Service: p.name(), Export: p.set.exports, Ratio: float64(p.set.traceRatio) / 100,
	})
	if err != nil {
		return err
	}
	p.onClose(func() { //nolint:contextcheck // it runs after ctx has ended
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		_ = stopTracing(ctx) // spans that cannot be sent are not worth a failed stop
	})
	p.recorder = runtimetrace.NewFlightRecorder(runtimetrace.FlightRecorderConfig{MinAge: flightWindow, MaxBytes: flightBytes})
	if err := p.join(reader); err != nil {
		return err
	}
	for _, spec := range p.chosen {
		s, err := p.openService(ctx, reader, spec)
		p.add(s, spec.Name)
		if err != nil {
			return err
		}
	}
	if err := reader.Err(); err != nil {
		return fmt.Errorf("settings:\n%w", err)
	}
	return p.record()
}

// openService reads a service's settings. The caller looks at the reader's faults.
func (p *process) openService(ctx context.Context, reader *config.Reader, spec service.Spec) (*service.Instance, error) {
	return service.Open(ctx, spec, service.Host{
		Config: p.reader(reader, spec), Log: p.logs, Network: p.network, Migrate: p.migrate(spec), Shared: p.several(),
		Exports: p.set.exports, Recorder: p.recorder,
	})
}

// join makes the network: Dapr's for the program of one service, which has a sidecar.
// Services that share a process reach one another within it.
func (p *process) join(reader *config.Reader) (err error) {
	if !p.several() {
		p.network = dapr.Network{}
		return nil
	}
	cfg := inprocess.Config{Hears: make(map[string][]string), Emits: make(map[string][]string)}
	for _, spec := range p.specs {
		for _, topic := range spec.Hears {
			cfg.Hears[topic] = append(cfg.Hears[topic], spec.Name)
		}
		for _, topic := range emitted(spec) {
			cfg.Emits[topic] = append(cfg.Emits[topic], spec.Name)
		}
	}
	if p.bridge, err = p.readBridge(reader); err != nil {
		return err
	}
	if p.bridge == nil {
		p.network = inprocess.New(cfg)
		return nil
	}
	cfg.Remote = p.bridge.remote
	for _, spec := range p.specs {
		if !p.runs(spec.Name) {
			cfg.Outside = append(cfg.Outside, spec.Name)
		}
	}
	p.bridge.bus = inprocess.New(cfg)
	p.network = p.bridge.bus
	return nil
}

// unheard are the topics whose events wait, since the process does not run all that hear
// them.
func (p program) unheard() (topics []string) {
	for _, spec := range p.specs {
		if p.runs(spec.Name) {
			continue
		}
		for _, topic := range spec.Hears {
			emitted := slices.ContainsFunc(p.chosen, func(s service.Spec) bool { return slices.Contains(s.Emits, topic) })
			if emitted && !slices.Contains(topics, topic) {
				topics = append(topics, topic)
			}
		}
	}
	return topics
}

func (p program) runs(name string) bool {
	return slices.ContainsFunc(p.chosen, func(s service.Spec) bool { return s.Name == name })
}

// record starts the flight recorder, which costs about one per cent of a busy
// processor and so is a choice.
func (p *process) record() error {
	if !p.set.flight {
		return nil
	}
	if err := p.recorder.Start(); err != nil {
		return fmt.Errorf("start flight recorder: %w", err)
	}
	p.onClose(p.recorder.Stop)
	return nil
}

// each does a step of the start with all services at once.
func (p *process) each(ctx context.Context, step func(*service.Instance, context.Context) error) error {
	running := p.all()
	return sideBySide(len(running), func(i int) error { return step(running[i], ctx) })
}

func (p *process) add(s *service.Instance, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.instances[name] = s
}

// remove returns the service that was removed, or nil.
func (p *process) remove(name string) *service.Instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.instances[name]
	delete(p.instances, name)
	return s
}

// all are the services that run, in the order of their declarations.
func (p *process) all() (running []*service.Instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, spec := range p.specs {
		if s := p.instances[spec.Name]; s != nil {
			running = append(running, s)
		}
	}
	return running
}

// sideBySide calls do for 0 to n-1 at once and joins the errors.
func sideBySide(n int, do func(int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = do(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (p *process) stacks() (stacks []stack) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, spec := range p.chosen {
		stacks = append(stacks, stack{spec.Name, p.instances[spec.Name].Layers()})
	}
	if p.bridge != nil {
		stacks = append(stacks, p.bridge.layers(p))
	}
	return stacks
}

// drain returns a context that ends some time after ctx, which is the signal to stop.
// In between the services work on and are no longer ready, so that load balancers,
// which learn that with a delay, send nothing to a closed port.
func (p *process) drain(ctx context.Context) (context.Context, context.CancelFunc) {
	drained, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		for _, s := range p.all() {
			s.Stopping()
		}
		p.log.InfoContext(drained, "stopping", "drain", p.set.drain)
		select {
		case <-time.After(p.set.drain):
		case <-drained.Done():
		}
		cancel()
	})
	return drained, func() { stop(); cancel() }
}

func (p *process) onClose(f func()) { p.closers = append(p.closers, f) }

func (p *process) close() {
	for _, s := range p.all() {
		s.Close()
	}
	for i := len(p.closers) - 1; i >= 0; i-- {
		p.closers[i]()
	}
}

// sharedWriter takes one write at a time: each service has a logger of its own, and all of
// them write to the same stream.
type sharedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *sharedWriter) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(line)
}
