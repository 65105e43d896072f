package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"quadrille.internal/local/stack"
	"quadrille.internal/quad/command"
	"quadrille.internal/quad/output"
)

func newTest(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "test",
		Short: "Run every module's tests against a PostgreSQL and a Redis of their own",
		Long: `test builds what the tests need, starts fresh servers in .local/test on ports of
their own, runs "go test -race" in every module of go.work with
QUADRILLE_TEST_POSTGRES and QUADRILLE_TEST_REDIS set, and stops the servers again.
The end-to-end tests, which start what they need themselves, run beside the others.

It builds kube-apiserver and the controller of Argo Rollouts, once for each version, holds
deploy/ against the one and tries releases by the other; QUADRILLE_SKIP_KUBERNETES=1 leaves
that out, and says so.

At the end it places some thousand orders and reports what they cost and where their
time went. The results are in .local/report; no test depends on them.`,
		Args: command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := testStack(newProgress(os.Stdout, g.JSON).report)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if err := s.Wipe(ctx); err != nil { // of a run that was killed
				return err
			}
			// Also when interrupted, nothing is left running.
			err = testAll(ctx, s)
			if err == nil {
				err = report(ctx, s)
			}
			return errors.Join(err, s.Down(context.WithoutCancel(ctx)))
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
		Root:       main.Root,
		Dir:        filepath.Join(main.Root, ".local", "test"),
		PortShift:  stack.TestPortShift,
		Services:   stack.ForOrders,
		LogicalWAL: true, // for what publishes by a replication slot
		Report:     report,
	})
}

func testAll(ctx context.Context, s *stack.Stack) error {
	for _, step := range []func(context.Context) error{
		s.InstallCompiler, s.BuildToolchain, s.BuildProtoTools, s.Build, s.UpServers,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if err := s.InstallBrowser(ctx); err != nil {
		fmt.Printf("services/identity does not test passkeys: %v\n", err)
	}
	if err := s.InstallPrometheus(ctx); err != nil {
		fmt.Printf("local/observability and local/e2e/shop do not test alerts and dashboards: %v\n", err)
	}
	if _, err := exec.LookPath("npm"); err != nil {
		fmt.Printf("services/identity does not test sign-in by an OpenID provider, which npm installs: %v\n", err)
	}
	if err := buildKubernetes(ctx, s); err != nil {
		return err
	}
	lanes, err := testLanes(ctx, s)
	if err != nil {
		return err
	}
	fmt.Println("running; each module's output follows once it is done, what failed comes last")
	failed := make([][]failure, len(lanes))
	var all sync.WaitGroup
	var out sync.Mutex
	for i, lane := range lanes {
		all.Go(func() { failed[i] = runLane(ctx, lane, &out) })
	}
	all.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return tellFailed(os.Stdout, filepath.Join(s.Dir, "failed"), slices.Concat(failed...))
}

// skipKubernetes is for machines on which building Kubernetes takes too long.
const skipKubernetes = "QUADRILLE_SKIP_KUBERNETES"

// loudly says what is not tested.
func loudly(text string) { fmt.Println(output.Paint(os.Stdout, output.Yellow, text)) }

// buildKubernetes builds what deploy/ is held against, and says what is not tested where
// that is not wanted or Prometheus is not to be had.
func buildKubernetes(ctx context.Context, s *stack.Stack) error {
	if os.Getenv(skipKubernetes) == "1" && !s.KubernetesBuilt(stack.KubernetesAPI, stack.Rollouts) {
		loudly(skipKubernetes + "=1: deploy/ is NOT held against an API server, and NO release is tried; " +
			"without it quad test builds what they need (about 15 min the first time)")
		return nil
	}
	if err := s.InstallPrometheus(ctx); err != nil {
		loudly(fmt.Sprintf("local/canary tries NO release: %v", err))
	}
	return s.BuildKubernetes(ctx, stack.KubernetesAPI, stack.Rollouts)
}

// A goTest is one call of go test.
type goTest struct {
	name, dir string
	packages  string // "" is all
	env       []string
}

const endToEnd = "local/e2e"

// testLanes divides the tests into two sequences that run side by side: end to end, on all
// that carries events, which waits half of its time for what was killed to come back, and
// all others. They take about as long as each other.
func testLanes(ctx context.Context, s *stack.Stack) ([2][]goTest, error) {
	modules, err := workspaceModules(ctx, s.Root)
	if err != nil {
		return [2][]goTest{}, err
	}
	var lanes [2][]goTest
	for _, module := range modules {
		test := goTest{name: module, dir: filepath.Join(s.Root, module), env: []string{
			"CGO_ENABLED=1", // the race detector needs it
			"QUADRILLE_TEST_POSTGRES=" + s.SuperuserURL(),
			"QUADRILLE_TEST_REDIS=" + s.RedisURL(),
		}}
		if module != endToEnd {
			lanes[1] = append(lanes[1], test)
			continue
		}
		lanes[0] = append(lanes[0], test)
		again, err := onKafka(test)
		if err != nil {
			return lanes, err
		}
		again = append(again, byDebezium(test)...)
		lanes[0] = append(append(lanes[0], test.with(" in one process", stack.OneProcess)), again...)
	}
	return lanes, nil
}

// onKafka is a test with Kafka for its broker. Where that is not to be had there is
// none, unless QUADRILLE_TEST_KAFKA=1 insists on it.
func onKafka(test goTest) ([]goTest, error) {
	_, err := stack.KafkaFound()
	switch {
	case err == nil:
		three := test.with(" on three brokers of Kafka", stack.Kafka+"-3")
		three.packages = "." // others need no more than one
		return []goTest{test.with(" on Kafka", stack.Kafka), three}, nil
	case os.Getenv("QUADRILLE_TEST_KAFKA") == "1":
		return nil, err
	}
	fmt.Printf("%s is not run on Kafka (QUADRILLE_TEST_KAFKA=1 makes this a failure): %v\n", test.name, err)
	return nil, nil
}

// byDebezium is a test on Kafka with Debezium for what publishes, of the rules of orders
// alone. Where Kafka Connect is not to be had there is none.
func byDebezium(test goTest) []goTest {
	if err := stack.DebeziumFound(); err != nil {
		loudly(fmt.Sprintf("Debezium as the relay is NOT tested: %v. Then: "+
			"QUADRILLE_TEST_BROKER=kafka QUADRILLE_TEST_RELAY=debezium go -C local/e2e test .", err))
		return nil
	}
	test = test.with(" with Debezium", stack.Kafka)
	test.env = append(test.env, "QUADRILLE_TEST_RELAY="+stack.Debezium)
	test.packages = "."
	return []goTest{test}
}

// with is a test on another broker, as its name then says.
func (t goTest) with(suffix, broker string) goTest {
	t.name += suffix
	t.env = append(slices.Clone(t.env), "QUADRILLE_TEST_BROKER="+broker)
	return t
}

// runLane runs tests one after the other and returns those that failed. The output
// of each is written once it is done.
func runLane(ctx context.Context, lane []goTest, out *sync.Mutex) (failed []failure) {
	for _, test := range lane {
		began := time.Now()
		text, err := test.run(ctx)
		if err != nil {
			failed = append(failed, failure{test.name, string(text)})
			text = []byte(output.Paint(os.Stdout, output.Red, "failed") + "\n")
		}
		out.Lock()
		fmt.Printf("\n%s\n%s%s\n", output.Paint(os.Stdout, output.Green, "test "+test.name), text,
			output.Paint(os.Stdout, output.Faint, fmt.Sprintf("%s took %.0f s", test.name, time.Since(began).Seconds())))
		out.Unlock()
		if ctx.Err() != nil {
			break
		}
	}
	return failed
}

// failure is a goTest that failed, with its output.
type failure struct{ name, text string }

// tellFailed writes what failed at the end, where people look: the first lines of each test
// that failed. The whole output is in a file of dir for each module.
func tellFailed(w io.Writer, dir string, failed []failure) error {
	if len(failed) == 0 {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("keep the output of tests that failed: %w", err)
	}
	var names []string
	for _, f := range failed {
		names = append(names, f.name)
		file := filepath.Join(dir, strings.NewReplacer("/", "-", " ", "-").Replace(f.name)+".log")
		if err := os.WriteFile(file, []byte(f.text), 0o600); err != nil {
			return fmt.Errorf("keep the output of tests that failed: %w", err)
		}
		if _, err := fmt.Fprintf(w, "\nfailed: %s, the whole output is in %s\n%s", f.name, file, essence(f.text)); err != nil {
			return fmt.Errorf("tell what failed: %w", err)
		}
	}
	return command.Unwell{Err: fmt.Errorf("tests failed in %s", strings.Join(names, ", "))}
}

const (
	tellLines = 30    // of a test that failed
	tellChars = 1_000 // of a line
)

// essence is the output of go test without packages that passed, and of each test that
// failed the first lines only.
func essence(text string) string {
	var short strings.Builder
	n := 0
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "ok  \t"), strings.HasPrefix(line, "?   \t"):
			continue
		case strings.HasPrefix(strings.TrimLeft(line, " "), "--- FAIL"), strings.HasPrefix(line, "FAIL"), strings.HasPrefix(line, "# "),
			strings.HasPrefix(line, "panic:"), strings.HasPrefix(line, "WARNING: DATA RACE"):
			n = 0
		}
		if n++; n == tellLines+1 {
			short.WriteString("        ...\n")
		}
		if n > tellLines {
			continue
		}
		if len(line) > tellChars {
			line = strings.ToValidUTF8(line[:tellChars], "") + "...\n"
		}
		short.WriteString(line)
	}
	return short.String()
}

func (t goTest) run(ctx context.Context) (output []byte, err error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-race", "-count=1", "-timeout=40m", cmp.Or(t.packages, "./..."))
	cmd.Dir = t.dir
	cmd.Env = append(os.Environ(), t.env...)
	return cmd.CombinedOutput()
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
