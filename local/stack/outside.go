package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Services of the one process may be moved out of it: then each is a process with a
// sidecar, as on Dapr, on Redis. What is outside is written to a file, which outlives
// `quad down`: what Redis holds for a service is for the one outside.

func (s *Stack) outsideFile() string { return filepath.Join(s.Dir, "run", "outside") }

// Outside are the services that were moved out of the one process, or are being moved.
func (s *Stack) Outside() []string {
	text, err := os.ReadFile(s.outsideFile())
	if err != nil || !s.OneProcess() {
		return nil
	}
	return slices.DeleteFunc(s.Apps(), func(app string) bool {
		return !slices.Contains(strings.Fields(string(text)), app)
	})
}

// allTogether reports whether neither Dapr nor programs of single services are needed.
func (s *Stack) allTogether() bool { return s.OneProcess() && len(s.Outside()) == 0 }

func (s *Stack) isOutside(app string) bool { return slices.Contains(s.Outside(), app) }

func (s *Stack) inside() []string { return slices.DeleteFunc(s.Apps(), s.isOutside) }

func (s *Stack) rememberOutside(apps []string) error {
	if len(apps) == 0 {
		if err := os.Remove(s.outsideFile()); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	fresh := s.outsideFile() + ".new"
	if err := os.WriteFile(fresh, []byte(strings.Join(apps, "\n")+"\n"), 0o644); err != nil {
		return fmt.Errorf("write down which services are outside: %w", err)
	}
	return os.Rename(fresh, s.outsideFile())
}

// forgetOutside takes a service that is back off the list.
func (s *Stack) forgetOutside(app string) error {
	return s.rememberOutside(slices.DeleteFunc(s.Outside(), func(other string) bool { return other == app }))
}

// startBridge starts what services outside need: Redis, Dapr's control plane, and the
// sidecar of the one process, which has to run.
func (s *Stack) startBridge(ctx context.Context) error {
	if err := errors.Join(s.writeSidecarSecrets(), s.writeBridgeComponents()); err != nil {
		return err
	}
	for _, start := range []func(context.Context) error{s.startRedis, s.startSentry, s.startPlacement, s.startScheduler} {
		if err := start(ctx); err != nil {
			return err
		}
	}
	if err := s.spawnSidecar(s.bridgeApp()); err != nil {
		return err
	}
	return s.awaitReady(ctx, s.Process(Sidecar(Together)), func(ctx context.Context) error {
		places, err := s.places(ctx)
		if err == nil && places.Bridge != "" {
			err = errors.New(places.Bridge)
		}
		return err
	})
}

// bridgeApp is the one process, as its sidecar knows it.
func (s *Stack) bridgeApp() *App {
	shift := s.opts.PortShift
	return &App{
		ID: Together, Dir: s.Dir, GRPCPort: bridgeGRPCPort + shift, DaprHTTP: bridgeDaprPort + shift, DaprGRPC: bridgeDaprGRPCPort + shift,
		DaprInternal: bridgeDaprInternalPort + shift, DaprMetrics: bridgeDaprMetricsPort + shift,
	}
}

// bridgeEnv has the one process let services out: they share its ports for a moment.
func (s *Stack) bridgeEnv() []string {
	return []string{
		sharePorts, "QUADRILLE_BRIDGE=on",
		"QUADRILLE_BRIDGE_ADMIN_ADDR=" + s.addr(bridgeAdminPort), "QUADRILLE_BRIDGE_ADMIN_TOKEN_FILE=secrets/" + Together + ".admin",
		"QUADRILLE_BRIDGE_GRPC_ADDR=" + s.addr(bridgeGRPCPort), "DAPR_GRPC_PORT=" + s.port(bridgeDaprGRPCPort),
		"APP_API_TOKEN_FILE=secrets/app-api-token", "DAPR_API_TOKEN_FILE=secrets/dapr-api-token",
	}
}

const sharePorts = "QUADRILLE_SHARE_PORTS=on"

func (s *Stack) spawnSidecar(a *App) error {
	part := Sidecar(a.ID)
	addr := s.addr(a.DaprHTTP - s.opts.PortShift)
	if s.alreadyRunning(part, addr) {
		return nil
	}
	if err := portFree(addr); err != nil {
		return err
	}
	env, err := s.daprEnv()
	if err != nil {
		return err
	}
	run := *s.run
	run.Common.ResourcesPaths = []string{s.bridgeComponents()}
	run.Common.ConfigFilePath = filepath.Join(s.bridgeComponents(), "config.yaml")
	if _, err := s.spawn(command{name: part, args: run.sidecarArgs(a), dir: a.Dir, env: env}); err != nil {
		return err
	}
	s.report(part, Started, addr)
	return nil
}

// startOutside starts a service beside the one process, on the same ports, with its
// sidecar, and waits until both are ready.
func (s *Stack) startOutside(ctx context.Context, app string) error {
	a := s.App(app)
	if err := s.spawnSidecar(a); err != nil {
		return err
	}
	if !s.alreadyRunning(app, s.listens(app)) {
		env, err := s.daprEnv()
		if err != nil {
			return err
		}
		if _, err := s.spawn(command{name: app, args: a.Alone, dir: a.Dir, env: append(append(env, a.serviceEnv()...), sharePorts)}); err != nil {
			return err
		}
		s.report(app, Started, s.listens(app))
	}
	for part, ready := range map[string]func(context.Context) error{
		app:          func(ctx context.Context) error { return s.readyItself(ctx, app) },
		Sidecar(app): func(ctx context.Context) error { return s.ready(ctx, Sidecar(app)) },
	} {
		p := s.Process(part)
		if p == nil {
			return fmt.Errorf("%s ended while it was starting%s", part, s.logTail(part))
		}
		if err := s.awaitReady(ctx, p, ready); err != nil {
			return err
		}
	}
	return nil
}

// readyItself asks a service that shares its ports: the answer must be that of the
// process outside.
func (s *Stack) readyItself(ctx context.Context, app string) error {
	p := s.Process(app)
	if p == nil {
		return fmt.Errorf("%s is not running", app)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.HealthURL(app)+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := probe.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch pid := resp.Header.Get("Quadrille-Pid"); {
	case pid != strconv.Itoa(p.PID):
		return fmt.Errorf("process %s answers for %s, not yet %d", pid, app, p.PID)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answers %s", app, resp.Status)
	}
	return nil
}

// stopOutside stops a service outside and then its sidecar.
func (s *Stack) stopOutside(ctx context.Context, app string) error {
	return errors.Join(s.stopAll(ctx, serviceGrace, app), s.stopAll(ctx, sidecarGrace, Sidecar(app)))
}

// startAllOutside starts what belongs outside and does not run.
func (s *Stack) startAllOutside(ctx context.Context) error {
	outside := s.Outside()
	if len(outside) == 0 {
		return nil
	}
	if err := s.startBridge(ctx); err != nil {
		return err
	}
	for _, app := range outside {
		if err := s.startOutside(ctx, app); err != nil {
			return err
		}
	}
	return nil
}
