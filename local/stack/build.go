package stack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"quadrille.internal/local/gobuild"
)

// DaprVersion is what the self-built runtime reports. The CLI compares it to
// decide what it may ask of the runtime; it goes with the go.mod files below
// local/toolchain.
const DaprVersion = "1.18.2"

// A tool is a module below local/toolchain and what it builds.
type tool struct {
	module   string
	packages []string
	binaries []string
	size     string // said while building, so that nobody thinks it hangs
}

var toolchain = []tool{
	{"daprd", []string{"."}, []string{"daprd"}, "about 4 min the first time"},
	{"control", []string{"./placement", "./scheduler", "./sentry"}, []string{"placement", "scheduler", "sentry"}, "about 1 min the first time"},
	{"cli", []string{"./dapr"}, []string{"dapr"}, "about 2 min the first time"},
}

// BuildToolchain builds the pinned Dapr runtime and CLI into .local/dapr/bin,
// unless they are there already for the present sources.
func (s *Stack) BuildToolchain(ctx context.Context) error {
	if s.allTogether() {
		return nil // which needs none of it
	}
	return s.buildToolchain(ctx)
}

func (s *Stack) buildToolchain(ctx context.Context) error {
	runtimePath := s.run.Common.RuntimePath
	if err := os.MkdirAll(filepath.Join(runtimePath, "bin"), 0o755); err != nil {
		return err
	}
	// The CLI looks for <runtimePath>/.dapr/bin/daprd.
	if err := os.Symlink(".", filepath.Join(runtimePath, ".dapr")); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, t := range toolchain {
		if err := s.buildTool(ctx, t, s.daprBin("")); err != nil {
			return err
		}
	}
	return nil
}

// ToolchainBuilt reports whether every Dapr binary is there for the present
// sources.
func (s *Stack) ToolchainBuilt() bool {
	return !slices.ContainsFunc(toolchain, func(t tool) bool { return !s.toolBuilt(t, s.daprBin("")) })
}

// toolBuilt reports whether dir has the tool for the present sources.
func (s *Stack) toolBuilt(t tool, dir string) bool {
	stamp, err := s.toolStamp(t)
	return err == nil && t.current(dir, stamp)
}

// buildTool builds a tool into dir, unless it is there.
func (s *Stack) buildTool(ctx context.Context, t tool, dir string) error {
	stamp, err := s.toolStamp(t)
	if err != nil {
		return err
	}
	if t.current(dir, stamp) {
		return nil
	}
	done := s.progress(t.module, t.size)
	defer done()
	began := time.Now()
	if err := (gobuild.Build{
		Dir:        filepath.Join(s.Root, "local", "toolchain", t.module),
		Output:     dir + "/",
		Packages:   t.packages,
		Ldflags:    "-X github.com/dapr/dapr/pkg/buildinfo.version=" + DaprVersion,
		Standalone: true,
	}).Run(ctx); err != nil {
		return err
	}
	s.reportEvent(Event{Part: t.module, State: Built, Detail: dir, Took: time.Since(began)})
	return os.WriteFile(t.stampFile(dir), []byte(stamp), 0o644)
}

func (t tool) stampFile(dir string) string { return filepath.Join(dir, "."+t.module+".stamp") }

func (t tool) current(dir, stamp string) bool {
	have, err := os.ReadFile(t.stampFile(dir))
	if err != nil || string(have) != stamp {
		return false
	}
	return !slices.ContainsFunc(t.binaries, func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err != nil
	})
}

// toolStamp is a hash of all that decides what is built.
func (s *Stack) toolStamp(t tool) (string, error) {
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.Version(), DaprVersion)
	dir := filepath.Join(s.Root, "local", "toolchain", t.module)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		fmt.Fprintln(hash, entry.Name(), len(text))
		hash.Write(text)
		return err
	})
	return hex.EncodeToString(hash.Sum(nil)), err
}

// Build builds the services, the stand-ins for third parties and quad itself into
// .local/bin. A service is built without go.work, with no more than its module requires.
func (s *Stack) Build(ctx context.Context) error { return s.build(ctx, s.allTogether()) }

// BuildAll builds everything, also what the way in which Quadrille runs does not need.
func (s *Stack) BuildAll(ctx context.Context) error {
	if err := s.buildToolchain(ctx); err != nil {
		return err
	}
	return s.build(ctx, false)
}

func (s *Stack) build(ctx context.Context, together bool) error {
	if err := os.MkdirAll(s.bin(""), 0o755); err != nil {
		return err
	}
	began := time.Now()
	for _, c := range []struct {
		commands   string
		standalone bool
	}{
		{"services/*/cmd/*/main.go", true},
		{"workflows/*/cmd/*/main.go", true},
		{"local/psp/main.go", false},
		{"local/erp/main.go", false},
		{"local/mail/main.go", false},
		{"local/balancer/main.go", false},
		{"local/quad/main.go", false},
		{"services/cmd/*/main.go", true},
	} {
		if together && (strings.HasPrefix(c.commands, "services/*") || strings.HasPrefix(c.commands, "workflows/")) {
			continue // it has them all in one program
		}
		mains, err := filepath.Glob(filepath.Join(s.Root, c.commands))
		if err != nil {
			return err
		}
		for _, main := range mains {
			if err := s.buildCommand(ctx, filepath.Dir(main), c.standalone); err != nil {
				return err
			}
		}
	}
	s.reportEvent(Event{Part: "services", State: Built, Detail: s.bin(""), Took: time.Since(began)})
	return nil
}

// buildCommand builds the command in a folder that is called like it.
func (s *Stack) buildCommand(ctx context.Context, dir string, standalone bool) error {
	name := filepath.Base(dir)
	done := s.progress(name, "")
	defer done()
	return gobuild.Build{Dir: dir, Output: s.bin(name), Standalone: standalone}.Run(ctx)
}

// progress reports every second that part is still building, until the returned
// function is called.
func (s *Stack) progress(part, detail string) (done func()) {
	began := time.Now()
	stop, stopped := make(chan struct{}), make(chan struct{})
	tick := func() {
		s.reportEvent(Event{Part: part, State: Building, Detail: detail, Took: time.Since(began)})
	}
	tick()
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				tick()
			}
		}
	}()
	return func() { close(stop); <-stopped }
}
