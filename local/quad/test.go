package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"quadrille.internal/local/quad/stack"
)

func newTest(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "test",
		Short: "Run every module's tests against a PostgreSQL and a Redis of their own",
		Long: `test builds what the tests need, starts fresh servers in .local/test on ports of
their own, runs "go test -race" in every module of go.work with
QUADRILLE_TEST_POSTGRES and QUADRILLE_TEST_REDIS set, and stops the servers again.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := testStack(newProgress(os.Stdout, g.json).report)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if err := s.Wipe(ctx); err != nil { // of a run that was killed
				return err
			}
			// Also when interrupted, nothing is left running.
			return errors.Join(testAll(ctx, s), s.Down(context.WithoutCancel(ctx)))
		},
	}
}

// testStack keeps clear of the stack in daily use.
func testStack(report func(stack.Event)) (*stack.Stack, error) {
	main, err := stack.New(stack.Options{})
	if err != nil {
		return nil, err
	}
	return stack.New(stack.Options{
		Root:      main.Root,
		Dir:       filepath.Join(main.Root, ".local", "test"),
		PortShift: stack.TestPortShift,
		Report:    report,
	})
}

func testAll(ctx context.Context, s *stack.Stack) error {
	for _, step := range []func(context.Context) error{
		s.InstallCompiler, s.BuildToolchain, s.Build, s.UpServers,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	modules, err := workspaceModules(ctx, s.Root)
	if err != nil {
		return err
	}

	var failed []string
	for _, module := range modules {
		began := time.Now()
		fmt.Printf("\n%s\n", paint(os.Stdout, green, "test "+module))
		if err := testModule(ctx, s, module); err != nil {
			failed = append(failed, module)
		}
		fmt.Printf("%s\n", paint(os.Stdout, faint, fmt.Sprintf("%s took %.0f s", module, time.Since(began).Seconds())))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	fmt.Println()
	if len(failed) > 0 {
		return unwell{error: fmt.Errorf("tests failed in %v", failed)}
	}
	return nil
}

func testModule(ctx context.Context, s *stack.Stack, module string) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-race", "-count=1", "-timeout=20m", "./...")
	cmd.Dir = filepath.Join(s.Root, module)
	cmd.Env = append(os.Environ(),
		"CGO_ENABLED=1", // the race detector needs it
		"QUADRILLE_TEST_POSTGRES="+s.SuperuserURL(),
		"QUADRILLE_TEST_REDIS="+s.RedisURL(),
	)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// workspaceModules lists the folders of go.work.
func workspaceModules(ctx context.Context, root string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", "work", "edit", "-json")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("read go.work: %w", err)
	}
	var work struct{ Use []struct{ DiskPath string } }
	if err := json.Unmarshal(out, &work); err != nil {
		return nil, fmt.Errorf("read go.work: %w", err)
	}
	modules := make([]string, len(work.Use))
	for i, use := range work.Use {
		modules[i] = filepath.Clean(use.DiskPath)
	}
	return modules, nil
}
