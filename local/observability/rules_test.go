package observability

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

func readRules(t *testing.T) Rules {
	t.Helper()
	rules, err := ReadRules(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(rules.All()) < 20 {
		t.Fatalf("%d rules are few", len(rules.All()))
	}
	return rules
}

// promtool runs the rules against the series of tests/alerts.yaml.
func TestAlertsByPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("SKIPPED: the alerts of " + Folder + " are not tested: there is no promtool (apt-get install prometheus)")
	}
	dir := t.TempDir()
	if err := readRules(t).WriteFile(filepath.Join(dir, "rules.yaml")); err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(filepath.Join(root, Folder, "tests", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "alerts.yaml"), tests, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"check", "rules", "rules.yaml"}, {"test", "rules", "alerts.yaml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// Each alert fires in a test, says how bad it is, and names a heading of the documents.
func TestEachAlertIsTestedAndHasARunbook(t *testing.T) {
	tests, err := os.ReadFile(filepath.Join(root, Folder, "tests", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range readRules(t).All() {
		if r.Alert == "" {
			continue
		}
		if !strings.Contains(string(tests), `alertname="`+r.Alert+`"`) {
			t.Errorf("no test has %s fire", r.Alert)
		}
		if s := r.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s has severity %q", r.Alert, s)
		}
		if r.Annotations["summary"] == "" {
			t.Errorf("%s has no summary", r.Alert)
		}
		checkRunbook(t, r)
	}
}

// checkRunbook wants a page that names the alert, and says what it means, where to look and what to
// do, with commands.
func checkRunbook(t *testing.T, r Rule) {
	t.Helper()
	file, anchor, _ := strings.Cut(r.Annotations["runbook"], "#")
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Errorf("%s: its runbook: %v", r.Alert, err)
		return
	}
	page, found := "", false
	for section := range strings.SplitSeq(string(text), "\n### ") {
		heading, body, _ := strings.Cut(section, "\n")
		if found = anchorOf(heading) == anchor; found {
			page, _, _ = strings.Cut(body, "\n## ")
			break
		}
	}
	if !found {
		t.Errorf("%s: %s has no heading %q", r.Alert, file, anchor)
	}
	for _, want := range []string{"`" + r.Alert + "`", "**Means:**", "**Look:**", "**Do:**"} {
		if !strings.Contains(page, want) {
			t.Errorf("%s: its runbook lacks %s", r.Alert, want)
		}
	}
}

// anchorOf is what a heading is linked by.
func anchorOf(heading string) string {
	kept := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(kept, " ", "-")
}

var metricName = regexp.MustCompile(`quadrille_[a-z0-9_]+`)

// What rules and dashboards ask for is among the metrics that services tell.
func TestNamesAreThoseThatServicesTell(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	told := make(map[string]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `(quadrille_[a-z0-9_]+)` \\| (counter|gauge|histogram) ").FindAllStringSubmatch(string(text), -1) {
		told[row[1]] = row[2]
	}
	queries, err := Queries(root)
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	for _, q := range queries {
		for _, name := range metricName.FindAllString(q.Expr, -1) {
			of := name
			for _, suffix := range []string{"_bucket", "_count", "_sum"} {
				if base, ok := strings.CutSuffix(name, suffix); ok && told[base] == "histogram" {
					of = base
				}
			}
			if told[of] == "" {
				t.Errorf("%s asks for %s, which no service tells", q.Where, name)
			}
			asked = append(asked, of)
		}
	}
	// What matters at night is on a dashboard or in an alert.
	for _, name := range []string{
		"saga_seconds", "sagas_started_total", "outbox_depth", "outbox_oldest_seconds", "outbox_lag_seconds", "outbox_slot_lag_seconds", "outbox_batch_size",
		"inbox_duplicates_total", "inbox_batch_size", "parked_events", "breaker_state", "http_request_seconds",
	} {
		if !slices.Contains(asked, "quadrille_"+name) {
			t.Errorf("nothing asks for quadrille_%s", name)
		}
	}
}
