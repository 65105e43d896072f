package services_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"quadrille.internal/services"
)

const (
	// What the fuzzer has, in seconds, for all public routes and for the operators' of a service.
	publicTime   = "35"
	operatorTime = "5"
	// operatorsOnly are the operations that want the operators' token.
	operatorsOnly = "/security/0/token == []"
)

// elsewhere are the tags of ports that every service has alike: other tests ask there.
var elsewhere = []string{"admin", "bridge", "health"}

// Whatever a request holds that the document allows, or forbids, and no matter who makes it, no
// service fails at it, and each answer is one that the document has. What the document promises in the
// good case was answered at least once. The fuzzer is schemathesis; it asks by the
// gateway, and operators' routes on their own ports.
func TestTheAPIIsAsItsDocumentSays(t *testing.T) {
	if testing.Short() {
		t.Skip("takes two minutes")
	}
	program, err := schemathesis(t.Context())
	if err != nil {
		t.Skipf("SKIPPED: schemathesis cannot be had, so the API is not held against its document: %v", err)
	}
	var names []string
	for _, s := range services.All() {
		names = append(names, s.Name)
	}
	p := newProcess(t, names...)
	p.stop(os.Interrupt)
	for _, unlimited := range []string{"ADDRESS_RATE", "ADDRESS_BURST", "CALLER_RATE", "CALLER_BURST"} {
		p.set("gateway", unlimited, "1000000")
	}
	p.env["QUADRILLE_IDENTITY_URL"] = "http://" + p.addr("identity", "HTTP_ADDR")
	p.env["QUADRILLE_ISSUER"] = p.env["QUADRILLE_IDENTITY_URL"]
	p.start()
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	defer cancel()
	customers, operators := p.makePlans()
	answers := make(map[string]answered)
	public := []string{"--exclude-by", operatorsOnly}
	for _, tag := range elsewhere {
		public = append(public, "--exclude-tag", tag)
	}
	p.fuzz(ctx, program, "http://"+p.addr("gateway", "HTTP_ADDR"), publicTime, customers, answers, public...)
	for _, name := range names {
		p.fuzz(ctx, program, "http://"+p.addr(name, "ADMIN_ADDR"), operatorTime, operators, answers, "--include-tag", name, "--exclude-by", "/security/0/token != []",
			"--header", "Authorization: Bearer "+adminToken)
	}
	t.Logf("answers, by operation:\n%s", table(answers))
	for _, fault := range missed(answers) {
		t.Error(fault)
	}
}

// answered is how an operation was answered, by who asked and the status: "ann 200".
type answered struct {
	Documented []string       `json:"documented"`
	Counts     map[string]int `json:"counts"`
}

// unreached are good answers that the fuzzer does not get, and why.
var unreached = map[string]string{
	"beginLink 201":             "there is no OpenID provider",
	"beginOpenID 201":           "there is no OpenID provider",
	"finishLink 204":            "there is no OpenID provider",
	"finishOpenID 201":          "there is no OpenID provider",
	"finishPasskeyAddition 201": "there is no authenticator",
	"finishPasskey 201":         "there is no authenticator",
	"resumePayment 200":         "no payment is refused by the provider",
	"resumeB2BOrder 200":        "no order is stuck",
}

// chancy are good answers that the fuzzer gets or not, as fast as the machine is, and why.
var chancy = map[string]string{
	"cancelOrder 200": "an order may be settled before anybody cancels it",
	"rotateKeys 200":  "a key must be published for two minutes first",
}

// missed are the good answers in the document that nobody got, and exceptions that are none.
func missed(answers map[string]answered) (faults []string) {
	for name, a := range answers {
		for _, status := range a.Documented {
			if !strings.HasPrefix(status, "2") {
				continue
			}
			got := slices.ContainsFunc(slices.Collect(maps.Keys(a.Counts)), func(key string) bool { return strings.HasSuffix(key, " "+status) })
			why, excused := unreached[name+" "+status]
			_, either := chancy[name+" "+status]
			switch {
			case either:
			case !got && !excused:
				faults = append(faults, fmt.Sprintf("%s never answered %s, but %v", name, status, a.Counts))
			case got && excused:
				faults = append(faults, fmt.Sprintf("%s answered %s, though %s", name, status, why))
			}
		}
	}
	slices.Sort(faults)
	return faults
}

// table has a line for each operation: how many answers of each class it gave to whom.
func table(answers map[string]answered) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "operation\t2xx\t4xx\t5xx\twho got 2xx")
	for _, name := range slices.Sorted(maps.Keys(answers)) {
		classes, who := map[string]int{}, map[string]bool{}
		for key, n := range answers[name].Counts {
			caller, status, _ := strings.Cut(key, " ")
			classes[status[:1]] += n
			if status[0] == '2' {
				who[caller] = true
			}
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\n", name, classes["2"], classes["4"], classes["5"], strings.Join(slices.Sorted(maps.Keys(who)), " "))
	}
	_ = w.Flush() // to memory
	return out.String()
}

// fuzz sends all requests of the plan and of the document to a port, and others for so many
// seconds. It reports answers that the document lacks, and notes all answers.
func (p *process) fuzz(ctx context.Context, program, url, seconds string, plan fuzzPlan, answers map[string]answered, args ...string) {
	p.t.Helper()
	p.send(ctx, program, url, plan, answers, append(args, "--phases", "examples")...)
	p.send(ctx, program, url, plan, answers, append(args, "--phases", "coverage,fuzzing", "--max-time", seconds)...)
}

// send runs the fuzzer once.
func (p *process) send(ctx context.Context, program, url string, plan fuzzPlan, answers map[string]answered, args ...string) {
	p.t.Helper()
	document, err := filepath.Abs("../docs/openapi.yaml")
	hooks, failed := filepath.Abs("testdata/fuzzer/people.py")
	if err := cmp.Or(err, failed); err != nil {
		p.t.Fatal(err)
	}
	dir := p.t.TempDir()
	plan.Elsewhere, plan.Answers = elsewhere, filepath.Join(dir, "answers.json")
	text, err := json.Marshal(plan)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "plan.json"), text, 0o600)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	// A request ends after the fuzzer's 10 s: event streams do not end before, and access tokens are valid for 5 minutes.
	cmd := exec.CommandContext(ctx, program, append([]string{"run", document, "--url", url,
		"--checks", "not_a_server_error,status_code_conformance,response_schema_conformance,content_type_conformance",
		"--seed", "1", "--generation-deterministic", "--no-color", "--warnings", "off",
		"--suppress-health-check", "all"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "QUADRILLE_FUZZER_PLAN="+filepath.Join(dir, "plan.json"), "SCHEMATHESIS_HOOKS="+hooks)
	out, err := cmd.CombinedOutput()
	if bytes.Contains(out, []byte("No operations")) { // a service without routes for operators
		return
	}
	sent := generated.Find(out)
	if err != nil {
		p.t.Errorf("%s: %v\n%s", url, err, out)
	}
	p.t.Logf("%s: %s", url, sent)
	told := make(map[string]answered)
	if text, err = os.ReadFile(plan.Answers); err == nil {
		err = json.Unmarshal(text, &told)
	}
	if err != nil {
		p.t.Errorf("%s: read the answers: %v", url, err)
	}
	for name, a := range told { // some operations are on both kinds of port
		if had, ok := answers[name]; ok {
			for key, n := range had.Counts {
				a.Counts[key] += n
			}
		}
		answers[name] = a
	}
}

// generated is how the fuzzer says how many requests it has sent.
var generated = regexp.MustCompile(`[1-9][0-9]* generated`)

// schemathesis installs what testdata/fuzzer/requirements.txt pins, once, below .local.
func schemathesis(ctx context.Context) (program string, err error) {
	list, err := filepath.Abs("testdata/fuzzer/requirements.txt")
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(list)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	dir := filepath.Join(filepath.Dir(list), "../../../.local/fuzzer", hex.EncodeToString(sum[:8]))
	program = filepath.Join(dir, "bin", "st")
	if _, err := os.Stat(filepath.Join(dir, "installed")); err == nil {
		return program, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for _, args := range [][]string{
		{"python3", "-m", "venv", "--clear", dir},
		{filepath.Join(dir, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check", "--requirement", list},
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return "", errors.Join(fmt.Errorf("%s: %w\n%s", args[0], err, out), os.RemoveAll(dir))
		}
	}
	return program, os.WriteFile(filepath.Join(dir, "installed"), nil, 0o600)
}
