package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Services end within 10 s of their own accord and a sidecar within 30 s, as long as they get
// the processor. What takes much longer is killed.
const (
	serviceGrace = 30 * time.Second
	sidecarGrace = 60 * time.Second
	partGrace    = 30 * time.Second
)

// Up starts what is not running: the infrastructure, and the services with
// `dapr run -f`. A service or sidecar that died alone is started alone, as the CLI
// neither notices nor replaces it. Everything must have been built.
func (s *Stack) Up(ctx context.Context) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.startInfra(ctx); err != nil {
		return err
	}
	return s.startServices(ctx)
}

// UpServers starts PostgreSQL and the broker only, for tests that need no more.
func (s *Stack) UpServers(ctx context.Context) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return s.startServers(ctx)
}

// UpInfra starts all that the services need but no service, and brings their databases
// up to date, for tests that start services one by one.
func (s *Stack) UpInfra(ctx context.Context) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return s.startInfra(ctx)
}

// StartServer starts one part of the infrastructure alone and waits until it is
// ready, for tests that kill it; a running one is left alone.
func (s *Stack) StartServer(ctx context.Context, part string) error {
	start := map[string]func(context.Context) error{
		"postgres": s.startPostgres, "sentry": s.startSentry, "placement": s.startPlacement, "scheduler": s.startScheduler,
		"psp": s.startPSP, "erp": s.startERP, "mail": s.startMail,
		connect: s.startConnect,
	}[part]
	if slices.Contains(s.BrokerParts(), part) {
		start = s.startBroker
	}
	if start == nil {
		return fmt.Errorf("no part of the infrastructure is called %q", part)
	}
	return start(ctx)
}

// lock keeps two quads from starting or stopping the same stack at once.
func (s *Stack) lock() (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(s.Dir, "run", "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(&EnvironmentError{
			Problem: "another quad is starting or stopping this stack",
			Remedy:  "wait until it is done",
		}, file.Close())
	}
	return func() { _ = file.Close() }, nil
}

func (s *Stack) startServers(ctx context.Context) error {
	if err := s.claimBroker(); err != nil {
		return err
	}
	if err := s.claimRelay(); err != nil {
		return err
	}
	if err := errors.Join(s.claimServices(), s.claimReplicas()); err != nil {
		return err
	}
	if err := s.startPostgres(ctx); err != nil {
		return err
	}
	if err := errors.Join(s.createDatabases(ctx), s.dropUnread(ctx)); err != nil {
		return err
	}
	return s.startBroker(ctx)
}

func (s *Stack) startInfra(ctx context.Context) error {
	steps := []func(context.Context) error{
		s.startTraces, s.startServers, s.startSentry, s.startPlacement, s.startScheduler, s.startPSP, s.startERP, s.startMail, s.migrate, s.startConnect,
	}
	if s.OneProcess() {
		steps = []func(context.Context) error{s.startTraces, s.startServers, s.startPSP, s.startERP, s.startMail, s.migrate}
	} else if err := s.writeSidecarSecrets(); err != nil {
		return err
	}
	for _, start := range steps {
		if err := start(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stack) alreadyRunning(name, detail string) bool {
	p := s.Process(name)
	if p == nil {
		return false
	}
	if p.outdated() {
		detail += ", built again since it started: quad down, then quad up"
	}
	s.report(name, Running, detail)
	return true
}

// start spawns a part that listens on addr and waits until it is ready.
func (s *Stack) start(ctx context.Context, c command, addr string, ready func(context.Context) error) error {
	if err := portFree(addr); err != nil {
		return err
	}
	began := time.Now()
	p, err := s.spawn(c)
	if err != nil {
		return err
	}
	if err := s.awaitReadyWithin(ctx, cmp.Or(c.patience, startPatience), p, ready); err != nil {
		return errors.Join(err, p.Stop(context.WithoutCancel(ctx), partGrace))
	}
	s.reportEvent(Event{Part: c.name, State: Started, Detail: addr, Took: time.Since(began)})
	return nil
}

func portFree(addr string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return &EnvironmentError{
			Problem: fmt.Sprintf("%s is taken by a program that is not part of this stack", addr),
			Remedy:  fmt.Sprintf("stop it (`ss -ltnp 'sport = :%d'` names it)", portOf(addr)),
		}
	}
	return listener.Close()
}

// Down stops everything, in an order that loses nothing: services finish what they
// have while their sidecars still publish, then the sidecars, the CLI that held
// them, and the infrastructure. Finally it looks for whatever a crash left behind.
func (s *Stack) Down(ctx context.Context) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	services := s.Instances()
	if s.OneProcess() {
		services = append(s.Outside(), Together)
	}
	sidecars := make([]string, 0, len(services))
	for _, app := range services {
		sidecars = append(sidecars, Sidecar(app))
	}
	err = errors.Join(
		s.stopAll(ctx, serviceGrace, services...),
		s.stopAll(ctx, sidecarGrace, sidecars...),
		s.stopAll(ctx, partGrace, balancer),
		// It has nothing left to do, and while it still starts services it would not
		// listen to anything gentler.
		s.stopPart(ctx, cli, syscall.SIGKILL, partGrace),
		s.stopAll(ctx, partGrace, "psp", "erp", "mail", "scheduler", "placement", tracesPart),
		s.stopAll(ctx, partGrace, "sentry"),
		s.stopAll(ctx, connectGrace, connect),
		s.stopAll(ctx, redisGrace, "redis"),
		s.stopBrokers(ctx),
		s.stopPostgres(ctx),
		s.sweep(ctx),
	)
	if err != nil {
		return err
	}
	return s.forgetRun()
}

// forgetRun removes the pid files, also of what had ended by itself, and lets the
// next run have another broker.
func (s *Stack) forgetRun() error {
	files, err := filepath.Glob(s.pidFile("*"))
	for _, file := range files {
		err = errors.Join(err, os.Remove(file))
	}
	for _, file := range []string{brokerFile(s.Dir), relayFile(s.Dir), servicesFile(s.Dir), replicasFile(s.Dir), s.routesFile()} {
		err = errors.Join(err, os.RemoveAll(file))
	}
	return err
}

// stopAll stops parts side by side.
func (s *Stack) stopAll(ctx context.Context, grace time.Duration, parts ...string) error {
	errs := make([]error, len(parts))
	var group sync.WaitGroup
	for i, part := range parts {
		group.Go(func() { errs[i] = s.stopPart(ctx, part, syscall.SIGTERM, grace) })
	}
	group.Wait()
	return errors.Join(errs...)
}

func (s *Stack) stopPart(ctx context.Context, part string, sig syscall.Signal, grace time.Duration) error {
	p := s.Process(part)
	if p == nil {
		return nil
	}
	began := time.Now()
	if err := p.stop(ctx, sig, grace); err != nil {
		return err
	}
	s.reportEvent(Event{Part: part, State: Stopped, Took: time.Since(began)})
	return nil
}

// stopPostgres ends open sessions; SIGTERM would wait for them.
func (s *Stack) stopPostgres(ctx context.Context) error {
	return s.stopPart(ctx, "postgres", syscall.SIGINT, postgresGrace)
}

// sweep kills what carries the stack's marker and was not stopped by name.
func (s *Stack) sweep(ctx context.Context) error {
	var errs []error
	for _, p := range s.marked() {
		errs = append(errs, p.Kill(ctx))
		s.report(p.Name, Stopped, fmt.Sprintf("pid %d was left over", p.PID))
	}
	return errors.Join(errs...)
}

// Wipe stops the stack and deletes its data, logs and secrets. A server named by
// the environment keeps what it has.
func (s *Stack) Wipe(ctx context.Context) error {
	if err := s.Down(ctx); err != nil {
		return err
	}
	owner, err := unprivileged()
	if err != nil {
		return err
	}
	home, err := s.postgresHome(owner)
	if err != nil {
		return err
	}
	paths, err := filepath.Glob(filepath.Join(s.kafkaDir(), "data*")) // beside these may lie Kafka itself
	if err != nil {
		return err
	}
	paths = append(paths, home, filepath.Join(s.kafkaDir(), "cluster-id"))
	for _, name := range []string{"redis", "scheduler", "psp.json", "erp.json", "mail.json", "traces", "names.db", "log", ".dapr", "secrets", "run"} {
		paths = append(paths, filepath.Join(s.Dir, name))
	}
	for _, path := range paths {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return s.prepare()
}
