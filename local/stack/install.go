package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// minPostgres has the role pg_read_all_data, which the auditor needs.
const minPostgres = 14

func (s *Stack) findRedis(ctx context.Context) (string, error) {
	return s.findOrInstall(ctx, "redis", "redis-server", "QUADRILLE_REDIS=host:port", lookRedis)
}

func lookRedis() (string, bool) {
	path, err := exec.LookPath("redis-server")
	return path, err == nil
}

// findPostgres returns the folder of the server's binaries.
func (s *Stack) findPostgres(ctx context.Context) (string, error) {
	return s.findOrInstall(ctx, "postgres", "postgresql", "QUADRILLE_POSTGRES=<superuser URL>", lookPostgres)
}

// lookPostgres prefers the newest version. Debian keeps server binaries off the
// PATH, one folder per major version.
func lookPostgres() (dir string, found bool) {
	newest := minPostgres - 1
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/postgres", "/usr/pgsql-*/bin/postgres"} {
		paths, _ := filepath.Glob(pattern) // errs on a bad pattern only
		for _, path := range paths {
			if version := majorVersion(path); version > newest {
				newest, dir, found = version, filepath.Dir(path), true
			}
		}
	}
	if found {
		return dir, true
	}
	path, err := exec.LookPath("postgres")
	if err != nil || majorVersion(path) < minPostgres {
		return "", false
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", false
	}
	return filepath.Dir(path), true
}

func majorVersion(postgres string) int {
	out, err := exec.Command(postgres, "--version").Output()
	if err != nil {
		return 0
	}
	var major int
	_, _ = fmt.Sscanf(string(out), "postgres (PostgreSQL) %d", &major) // 0 when it does not match
	return major
}

// findOrInstall looks for a server and, where it may, installs the Debian package.
func (s *Stack) findOrInstall(ctx context.Context, part, pkg, variable string, look func() (string, bool)) (string, error) {
	if path, ok := look(); ok {
		return path, nil
	}
	missing := &EnvironmentError{
		Problem: pkg + " is not installed",
		Remedy:  fmt.Sprintf("install it (apt-get install %s), or name a running server with %s", pkg, variable),
	}
	if os.Getuid() != 0 {
		return "", missing
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return "", missing
	}
	if err := s.aptInstall(ctx, part, pkg); err != nil {
		return "", &EnvironmentError{Problem: err.Error(), Remedy: missing.Remedy}
	}
	if path, ok := look(); ok {
		return path, nil
	}
	return "", missing
}

// aptInstall keeps apt's own words for the case that it fails.
func (s *Stack) aptInstall(ctx context.Context, part string, packages ...string) error {
	began := time.Now()
	done := s.progress(part, fmt.Sprintf("Debian package %v", packages))
	defer done()
	restore, err := keepServicesDown()
	if err != nil {
		return err
	}
	defer restore()
	// One unreachable repository fails the update and need not matter.
	outdated := aptGet(ctx, "update", "-q")
	install := append([]string{"install", "-q", "-y", "--no-install-recommends"}, packages...)
	if err := aptGet(ctx, install...); err != nil {
		return errors.Join(err, outdated)
	}
	s.reportEvent(Event{Part: part, State: Built, Detail: "installed " + strconv.Quote(packages[0]), Took: time.Since(began)})
	return nil
}

func aptGet(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// keepServicesDown stops Debian packages from starting a server of their own as
// they are installed, until restore is called.
func keepServicesDown() (restore func(), err error) {
	const policy = "/usr/sbin/policy-rc.d"
	file, err := os.OpenFile(policy, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if errors.Is(err, fs.ErrExist) { // somebody has decided already
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	const forbidden = "#!/bin/sh\nexit 101\n"
	_, err = file.WriteString(forbidden)
	return func() { _ = os.Remove(policy) }, errors.Join(err, file.Close())
}

// InstallCompiler makes sure that there is a C compiler, without which Go has no
// race detector.
func (s *Stack) InstallCompiler(ctx context.Context) error {
	if _, err := exec.LookPath("gcc"); err == nil {
		return nil
	}
	remedy := "install a C compiler (apt-get install gcc libc6-dev)"
	if os.Getuid() != 0 {
		return &EnvironmentError{Problem: "the race detector needs gcc", Remedy: remedy}
	}
	if err := s.aptInstall(ctx, "gcc", "gcc", "libc6-dev"); err != nil {
		return &EnvironmentError{Problem: err.Error(), Remedy: remedy}
	}
	return nil
}

// InstallBrowser makes sure that there is a Chromium, by which passkeys and calls from pages of other origins are
// tested.
func (s *Stack) InstallBrowser(ctx context.Context) error {
	if _, err := exec.LookPath("chromium"); err == nil {
		return nil
	}
	remedy := "install a browser (apt-get install chromium)"
	if os.Getuid() != 0 {
		return &EnvironmentError{Problem: "there is no chromium", Remedy: remedy}
	}
	if err := s.aptInstall(ctx, "chromium", "chromium"); err != nil {
		return &EnvironmentError{Problem: err.Error(), Remedy: remedy}
	}
	return nil
}

// InstallPrometheus makes sure that there are Prometheus, which judges the releases of a test,
// and promtool, by which alerts are tested.
func (s *Stack) InstallPrometheus(ctx context.Context) error {
	if _, err := exec.LookPath("promtool"); err == nil {
		return nil
	}
	remedy := "install it (apt-get install prometheus)"
	if os.Getuid() != 0 {
		return &EnvironmentError{Problem: "there is no prometheus", Remedy: remedy}
	}
	if err := s.aptInstall(ctx, "prometheus", "prometheus"); err != nil {
		return &EnvironmentError{Problem: err.Error(), Remedy: remedy}
	}
	return nil
}
