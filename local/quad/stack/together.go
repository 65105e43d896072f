package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// together is the program, and the part, that runs all services in one process.
const together = "quadrille"

// OneProcess reports whether all services run in one process, without Dapr and broker.
func (s *Stack) OneProcess() bool { return s.opts.Broker == OneProcess }

// startTogether starts the one process, and waits until all services in it are ready.
func (s *Stack) startTogether(ctx context.Context) error {
	if err := s.allBuilt(); err != nil {
		return err
	}
	began, ran := time.Now(), s.Process(together) != nil
	if !ran {
		for _, app := range s.Apps() {
			if err := portFree(strings.TrimPrefix(s.HTTPURL(app), "http://")); err != nil {
				return err
			}
		}
	}
	if err := s.spawnTogether(); err != nil {
		return err
	}
	if err := s.awaitServices(ctx); err != nil || ran {
		return err
	}
	for _, app := range s.Apps() {
		s.reportEvent(Event{Part: app, State: Started, Detail: s.HTTPURL(app), Took: time.Since(began)})
	}
	return nil
}

// spawnTogether starts the one process, unless it runs.
func (s *Stack) spawnTogether() error {
	if s.alreadyRunning(together, strings.Join(s.Apps(), ", ")) {
		return nil
	}
	_, err := s.spawn(command{name: together, args: []string{s.togetherProgram()}, dir: s.Dir, env: s.togetherEnv()})
	return err
}

func (s *Stack) togetherProgram() string { return cmp.Or(s.opts.Program, s.bin(together)) }

// togetherEnv is what local/dapr.yaml sets for each service, with the service's prefix.
func (s *Stack) togetherEnv() []string {
	var env []string
	for _, app := range s.Apps() {
		for name, value := range s.App(app).Env {
			env = append(env, prefixed(app, name)+"="+value)
		}
	}
	slices.Sort(env)
	return env
}

// ofProcess are settings of the process, whatever services are in it.
var ofProcess = []string{"QUADRILLE_TRACE_PERCENT", "QUADRILLE_FLIGHT", "QUADRILLE_DRAIN"}

// prefixed is the name of a service's setting where several share a process.
func prefixed(app, name string) string {
	const ours = "QUADRILLE_"
	if own, ok := strings.CutPrefix(name, ours); ok && !slices.Contains(ofProcess, name) {
		return ours + strings.ToUpper(app) + "_" + own
	}
	return name
}

// migrateTogether brings the databases of all services up to date with the one program.
func (s *Stack) migrateTogether(ctx context.Context) error {
	if err := s.allBuilt(); err != nil {
		return err
	}
	part := together + "-migrate"
	log, err := os.OpenFile(s.LogFile(part), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	began := time.Now()
	cmd := exec.CommandContext(ctx, s.togetherProgram(), "migrate")
	cmd.Dir = s.Dir
	cmd.Env = append(inheritable(os.Environ()), marker+"="+s.Dir)
	for _, app := range s.Apps() {
		cmd.Env = append(cmd.Env,
			prefixed(app, "QUADRILLE_MIGRATE_DATABASE_URL_FILE")+"="+s.secretFile(app+"-owner.url"),
			prefixed(app, "QUADRILLE_DATABASE_ROLE")+"="+app)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = migrateGrace
	done := s.progress("migrations", strings.Join(s.Apps(), ", "))
	err = cmd.Run()
	done()
	if err != nil {
		return errors.Join(fmt.Errorf("migrate the databases: %w%s", err, s.logTail(part)), ctx.Err())
	}
	s.reportEvent(Event{Part: "migrations", State: Applied, Detail: strings.Join(s.Apps(), ", "), Took: time.Since(began)})
	return nil
}
