package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const migrateGrace = 5 * time.Second // to end a statement, once told to stop

// migrate brings the databases of all services up to date, side by side, each with
// the service's own program and as the role that owns the database.
func (s *Stack) migrate(ctx context.Context) error {
	if err := s.allBuilt(); err != nil {
		return err
	}
	began, apps := time.Now(), s.unmigrated()
	if len(apps) == 0 {
		return nil
	}
	errs := make([]error, len(apps))
	var group sync.WaitGroup
	done := s.progress("migrations", strings.Join(apps, ", "))
	for i, app := range apps {
		group.Go(func() { errs[i] = s.migrateApp(ctx, app) })
	}
	group.Wait()
	done()
	for i, app := range apps {
		if errs[i] == nil {
			s.migrated[app] = s.program(app)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.reportEvent(Event{Part: "migrations", State: Applied, Detail: strings.Join(apps, ", "), Took: time.Since(began)})
	return nil
}

// unmigrated are the apps whose present program has not migrated yet, as far as this
// Stack knows. Tests bring up the infrastructure many times.
func (s *Stack) unmigrated() (apps []string) {
	for _, app := range s.WithDatabase() {
		if s.migrated[app] != s.program(app) {
			apps = append(apps, app)
		}
	}
	return apps
}

// program tells a service's program from one that was built later.
func (s *Stack) program(app string) string {
	path := s.App(app).Command[0]
	info, err := os.Stat(path)
	if err != nil {
		return path
	}
	return fmt.Sprint(path, info.ModTime().UnixNano())
}

func (s *Stack) migrateApp(ctx context.Context, app string) error {
	log, err := os.OpenFile(s.LogFile(app+"-migrate"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	a := s.App(app)
	args := append(slices.Clone(a.Command[1:]), "migrate")
	if s.OneProcess() {
		args = append(args, app) // of all that the program has
	}
	cmd := exec.CommandContext(ctx, a.Command[0], args...)
	cmd.Dir = a.Dir
	cmd.Env = append(inheritable(os.Environ()),
		s.setting(app, "QUADRILLE_MIGRATE_DATABASE_URL_FILE")+"="+s.secretFile(app+"-owner.url"),
		s.setting(app, "QUADRILLE_DATABASE_ROLE")+"="+app, marker+"="+s.Dir)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = migrateGrace
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("migrate the database of %s: %w%s", app, err, s.logTail(app+"-migrate"))
	}
	return nil
}

// allBuilt reports services that are not built.
func (s *Stack) allBuilt() error {
	if missing := s.Unbuilt(); len(missing) > 0 {
		return &EnvironmentError{Problem: "not built: " + strings.Join(missing, ", "), Remedy: "run `quad build`"}
	}
	return nil
}
