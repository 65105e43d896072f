package contract

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"quadrille.internal/local/release"
)

// A step of docs/adding-a-service.md: a block of code, and what to do with it.
type step struct {
	file, how, line string // "after" or "instead of" a line of the file; otherwise it is the file
	code            string
}

var (
	fenced = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")
	place  = regexp.MustCompile("^`([^`]+)`(?:, (after|instead of) `([^`]+)`)?:$")
)

// steps reads the page. A block of shell commands has no file; all others must say theirs.
func steps(t *testing.T, page string) (list []step) {
	t.Helper()
	for _, at := range fenced.FindAllStringSubmatchIndex(page, -1) {
		s := step{code: page[at[4]:at[5]]}
		if page[at[2]:at[3]] != "sh" {
			lines := strings.Split(strings.TrimRight(page[:at[0]], "\n"), "\n")
			found := place.FindStringSubmatch(lines[len(lines)-1])
			if found == nil {
				t.Fatalf("the page does not say which file this is for:\n%s", s.code)
			}
			s.file, s.how, s.line = found[1], found[2], found[3]
		}
		list = append(list, s)
	}
	return list
}

// follow does what a step says in a copy of the repository.
func (s step) follow(t *testing.T, root string) {
	t.Helper()
	if s.file == "" {
		t.Logf("%s%s", s.code, command(t, root, "bash", "-euo", "pipefail", "-c", s.code))
		return
	}
	path := filepath.Join(root, s.file)
	text := s.code
	if s.how != "" {
		have, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		line := "\n" + s.line + "\n"
		if n := strings.Count(string(have), line); n != 1 {
			t.Fatalf("%s has the line %q %d times", s.file, s.line, n)
		}
		put := "\n" + s.code
		if s.how == "after" {
			put = line + s.code
		}
		text = strings.Replace(string(have), line, put, 1)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// command runs in a folder of the copy and returns the output.
func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=-buildvcs=false")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v in %s: %v\n%s", name, args, dir, err, out)
	}
	return string(out)
}

// copyRepository copies the files that git knows, or would add, as they are now.
func copyRepository(t *testing.T) string {
	t.Helper()
	from, err := release.Root()
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	for file := range strings.SplitSeq(strings.TrimRight(command(t, from, "git", "ls-files", "-coz", "--exclude-standard"), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join(from, file))
		if os.IsNotExist(err) {
			continue // deleted, and not committed
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(to, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// Somebody who follows the page gets a service that builds, passes its test, hears an
// event and emits one about a customer, and nothing that is stale.
func TestThePageAddsAService(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles a copy of the repository")
	}
	root := copyRepository(t)
	page, err := os.ReadFile(filepath.Join(root, "docs", "adding-a-service.md"))
	if err != nil {
		t.Fatal(err)
	}
	list := steps(t, string(page))
	if len(list) < 10 {
		t.Fatalf("the page has only %d steps", len(list))
	}
	for _, s := range list {
		s.follow(t, root)
	}
	command(t, root, "env", "GOWORK=off", "go", "-C", "services/loyalty", "build", "./...")
	command(t, root, "env", "GOWORK=off", "go", "-C", "services", "build", "./...")
	command(t, root, "env", "GOWORK=off", "go", "-C", "quad", "build", "./...")
	tested := command(t, root, "go", "-C", "services/loyalty", "test", "-v", ".")
	if !strings.Contains(tested, "--- PASS: TestAnOrderEarnsPointsOnce") {
		t.Errorf("the test of the service did not run:\n%s", tested)
	}
	command(t, root, "go", "-C", "events", "test", ".")
	// All other checks of this package hold for the new service, too.
	command(t, root, "go", "-C", "local/contract", "test", "-short", ".")
	// It would start on Kubernetes.
	command(t, root, "go", "-C", "local/generate", "test", "-run", "Manifests|Environments", ".")
	for file, want := range map[string]string{
		"quad/books/books.go":                          "{\"loyalty\", loyalty.Books},",
		"local/dapr.yaml":                              "appPort: 18121\n",
		"components/local/pubsub.yaml":                 "loyalty=order.confirmed,loyalty.deadletter",
		"deploy/services/loyalty/base/deployment.yaml": "dapr.io/app-id: loyalty\n",
		"docs/events.md":                               "| `loyalty.points.earned` | customer | loyalty |  | A customer got points for an order. |",
		"docs/operating.md":                            "| loyalty | `QUADRILLE_POINT_PRICE` | 100 | how much of an order earns a point, in minor units |",
	} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil || !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s has no %q (%v)", file, want, err)
		}
	}
}
