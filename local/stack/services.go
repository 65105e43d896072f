package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// cli is the part name of the `dapr run -f` that holds the services.
const cli = "dapr"

// startServices leaves the choice between `dapr run -f` and single processes to
// what is there: the CLI can only start all of them.
func (s *Stack) startServices(ctx context.Context) error {
	if s.OneProcess() {
		return s.startTogether(ctx)
	}
	if s.Replicas() > 1 {
		return s.startReplicas(ctx)
	}
	if slices.ContainsFunc(s.serviceParts(), func(part string) bool { return s.Process(part) != nil }) {
		for _, app := range s.Apps() {
			if err := errors.Join(s.StartSidecar(ctx, app), s.StartApp(ctx, app)); err != nil {
				return err
			}
		}
		return s.awaitServices(ctx)
	}
	if p := s.Process(cli); p != nil { // all it held has died
		if err := p.Kill(ctx); err != nil {
			return err
		}
	}
	return s.daprRun(ctx)
}

// serviceParts are the services and their sidecars.
func (s *Stack) serviceParts() []string {
	var parts []string
	for _, app := range s.Instances() {
		parts = append(parts, s.partsOf(app)...)
	}
	return parts
}

// ServiceProcesses are the processes of the services and their sidecars.
func (s *Stack) ServiceProcesses() []string {
	if !s.OneProcess() {
		return s.serviceParts()
	}
	processes := []string{Together}
	for _, app := range s.Outside() {
		processes = append(processes, s.partsOf(app)...)
	}
	return processes
}

// partsOf are a service and its sidecar, if it has one.
func (s *Stack) partsOf(app string) []string {
	if s.OneProcess() && !s.isOutside(app) {
		return []string{app}
	}
	return []string{app, Sidecar(app)}
}

// daprRun starts every service and sidecar with `dapr run -f`.
func (s *Stack) daprRun(ctx context.Context) error {
	if err := s.servicesCanStart(); err != nil {
		return err
	}
	path, err := s.effectiveRunFile()
	if err != nil {
		return err
	}
	env, err := s.daprEnv()
	if err != nil {
		return err
	}
	began := time.Now()
	p, err := s.spawn(command{
		name: cli,
		args: []string{s.daprBin("dapr"), "run", "--run-file", path},
		dir:  s.Dir,
		env:  env,
	})
	if err != nil {
		return err
	}
	s.reportEvent(Event{Part: cli, State: Started, Detail: "dapr run -f " + path})
	err = s.awaitReady(ctx, p, s.servicesReady())
	if linkErr := s.linkLogs(); err != nil || linkErr != nil {
		return errors.Join(err, linkErr)
	}
	s.reportServices(began, s.Apps())
	return nil
}

// reportServices says that services were started, which began then.
func (s *Stack) reportServices(began time.Time, apps []string) {
	for _, app := range apps {
		for _, part := range s.partsOf(app) {
			s.reportEvent(Event{Part: part, State: Started, Detail: s.listens(part), Took: time.Since(began)})
		}
	}
}

// servicesCanStart finds the faults that would otherwise hide in the CLI's log.
func (s *Stack) servicesCanStart() error {
	if err := s.allBuilt(); err != nil {
		return err
	}
	for _, part := range s.serviceParts() {
		if s.OneProcess() && s.Process(part) != nil {
			continue // it was moved out, and the one process is started again
		}
		if err := portFree(strings.TrimPrefix(s.listens(part), "http://")); err != nil {
			return err
		}
	}
	return nil
}

// effectiveRunFile is local/dapr.yaml itself where possible, else a copy with
// this stack's ports, paths and environment.
func (s *Stack) effectiveRunFile() (string, error) {
	if s.Dir == filepath.Join(s.Root, ".local") && s.opts.PortShift == 0 &&
		s.opts.Broker == Redis && len(s.opts.Env) == 0 && len(s.opts.Services) == 0 {
		return s.runFilePath(), nil
	}
	path := filepath.Join(s.Dir, "run", "dapr.yaml")
	return path, s.run.write(path)
}

// daprEnv is what sidecars need beside their flags; services inherit it too, so it holds
// no credentials but the two tokens by which a service and its sidecar know each other.
// What sidecars need for their components is in files (see writeSidecarSecrets).
func (s *Stack) daprEnv() ([]string, error) {
	anchors, err := os.ReadFile(s.trustAnchors())
	if err != nil {
		return nil, fmt.Errorf("read the certificate that sidecars trust, which sentry makes: %w", err)
	}
	return append(s.brokerEnv(),
		"APP_API_TOKEN="+s.tokens.app, "DAPR_API_TOKEN="+s.tokens.dapr,
		"DAPR_TRUST_ANCHORS="+string(anchors), "QUADRILLE_SENTRY_ADDRESS="+s.addr(sentryPort)), nil
}

// StartApp starts the service alone, without its sidecar and without waiting until
// it is ready; a running one is left alone.
func (s *Stack) StartApp(ctx context.Context, app string) error {
	if s.isOutside(app) {
		return s.startOutside(ctx, app)
	}
	if s.OneProcess() {
		return s.spawnTogether()
	}
	a := s.App(app)
	env, err := s.daprEnv()
	if err != nil {
		return err
	}
	return s.startAlone(app, command{
		name: app, args: a.Command, dir: a.Dir, env: slices.Concat(env, a.serviceEnv(), a.partEnv(app)),
	})
}

// StartSidecar starts the app's daprd alone; a running one is left alone.
func (s *Stack) StartSidecar(_ context.Context, app string) error {
	if s.OneProcess() {
		return nil // there are none, but for services outside, which start theirs
	}
	a := s.App(app)
	env, err := s.daprEnv()
	if err != nil {
		return err
	}
	return s.startAlone(Sidecar(app), command{
		name: Sidecar(app), args: s.run.sidecarArgs(a), dir: a.Dir, env: append(env, a.partEnv(Sidecar(app))...),
	})
}

func (s *Stack) startAlone(part string, c command) error {
	if s.alreadyRunning(part, s.listens(part)) {
		return nil
	}
	if _, err := s.spawn(c); err != nil {
		return err
	}
	s.report(part, Started, s.listens(part))
	return nil
}

// listens says where a service or a sidecar is reached.
func (s *Stack) listens(part string) string {
	for _, app := range s.Instances() {
		switch part {
		case app:
			if a := s.App(app); a.closed() {
				return "http://" + a.Env["QUADRILLE_HEALTH_ADDR"]
			}
			return "http://" + s.App(app).Env["QUADRILLE_HTTP_ADDR"]
		case Sidecar(app):
			return s.DaprURL(app)
		}
	}
	return ""
}

// AwaitReady waits until the service and its sidecar are ready for work, and says
// what is missing when ctx ends first or one of the two dies.
func (s *Stack) AwaitReady(ctx context.Context, app string) error {
	for _, part := range s.partsOf(app) {
		p := s.Process(part)
		if p == nil {
			return fmt.Errorf("%s is not running%s", part, s.logTail(part))
		}
		if err := s.awaitReady(ctx, p, func(ctx context.Context) error { return s.ready(ctx, part) }); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stack) awaitServices(ctx context.Context) error {
	for _, app := range s.Apps() {
		if err := s.AwaitReady(ctx, app); err != nil {
			return err
		}
	}
	return nil
}

// ready asks a service or a sidecar whether it can work.
func (s *Stack) ready(ctx context.Context, part string) error {
	for _, app := range s.Instances() {
		switch part {
		case app:
			return httpOK(s.HealthURL(app) + "/readyz")(ctx)
		case Sidecar(app):
			return httpOK(s.DaprURL(app) + "/v1.0/healthz/outbound")(ctx)
		}
	}
	return fmt.Errorf("no service or sidecar is called %q", part)
}

// servicesReady returns a check of all services and sidecars, while `dapr run -f`
// is still starting them one after the other. The CLI goes on when one of them
// dies, so the check gives up then.
func (s *Stack) servicesReady() func(context.Context) error {
	seen := map[string]bool{}
	return func(ctx context.Context) error {
		for _, part := range s.serviceParts() {
			if s.Process(part) != nil {
				seen[part] = true
			} else if seen[part] {
				return hopeless{fmt.Errorf("%s ended while it was starting%s", part, s.newestLogTail(part))}
			}
			if err := s.ready(ctx, part); err != nil {
				return fmt.Errorf("%s: %w", part, err)
			}
		}
		return nil
	}
}

func (s *Stack) newestLogTail(part string) string {
	if err := s.linkLogs(); err != nil {
		return ""
	}
	return s.logTail(part)
}

// linkLogs makes the newest log files of `dapr run -f`, which names them by time,
// appear as log/<part>.log.
func (s *Stack) linkLogs() error {
	for _, app := range s.Apps() {
		for part, kind := range map[string]string{app: "app", Sidecar(app): "daprd"} {
			files, err := filepath.Glob(filepath.Join(s.Dir, ".dapr", "logs", app+"_"+kind+"_*.log"))
			if err != nil || len(files) == 0 {
				continue
			}
			if err := os.RemoveAll(s.LogFile(part)); err != nil {
				return err
			}
			if err := os.Symlink(slices.Max(files), s.LogFile(part)); err != nil {
				return err
			}
		}
	}
	return nil
}
