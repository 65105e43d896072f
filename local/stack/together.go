package stack

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"quadrille.internal/platform/config"
)

// Together is the program, and the part, that runs all services in one process.
const Together = "quadrille"

// OneProcess reports whether all services run in one process, without Dapr and broker.
func (s *Stack) OneProcess() bool { return s.opts.Broker == OneProcess }

// joinApps makes the one program that of every app.
func (s *Stack) joinApps() {
	for i := range s.run.Apps {
		app := &s.run.Apps[i]
		app.Alone, app.Command = app.Command, []string{cmp.Or(s.opts.Program, s.bin(Together))}
	}
}

// startTogether starts the one process, and waits until all services in it are ready.
func (s *Stack) startTogether(ctx context.Context) error {
	began, ran := time.Now(), s.Process(Together) != nil
	if !ran {
		if err := s.servicesCanStart(); err != nil {
			return err
		}
	}
	if err := s.spawnTogether(); err != nil {
		return err
	}
	for _, app := range s.inside() {
		if err := s.AwaitReady(ctx, app); err != nil {
			return err
		}
	}
	if !ran {
		s.reportServices(began, s.inside())
	}
	return s.startAllOutside(ctx)
}

// spawnTogether starts the one process, unless it runs.
func (s *Stack) spawnTogether() error {
	inside := s.inside()
	if s.alreadyRunning(Together, strings.Join(inside, ", ")) {
		return nil
	}
	args := slices.Concat(s.run.Apps[0].Command, []string{"run"}, inside)
	_, err := s.spawn(command{name: Together, args: args, dir: s.Dir, env: s.togetherEnv()})
	return err
}

// togetherEnv is what local/dapr.yaml sets for each service, with the service's prefix.
func (s *Stack) togetherEnv() []string {
	var env []string
	for _, app := range s.Apps() {
		for name, value := range s.App(app).Env {
			env = append(env, s.setting(app, name)+"="+value)
		}
	}
	if len(s.opts.Services) > 0 {
		env = append(env, config.Installed+"="+strings.Join(s.opts.Services, ","))
	}
	env = append(env, s.bridgeEnv()...)
	slices.Sort(env)
	return env
}

// setting is how a setting of an app is called: with a prefix where apps share a process.
func (s *Stack) setting(app, name string) string {
	if !s.OneProcess() || slices.Contains(config.OfProcess, name) {
		return name
	}
	return config.NewReader(nil).For(app).Own().Name(name)
}
