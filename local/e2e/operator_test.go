package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"quadrille.internal/quad/installation"
)

// operator is somebody with the operator's command, a folder of his own and no checkout.
type operator struct {
	program, dir string
}

func newOperator(t *testing.T, s *system) operator {
	t.Helper()
	o := operator{program: filepath.Join(t.TempDir(), "quad"), dir: t.TempDir()}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", o.program, ".")
	build.Dir, build.Env = filepath.Join(s.Root, "quad"), append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build quad: %v\n%s", err, out)
	}
	return o
}

// run returns what the command printed on standard output, and that behind what it printed
// on standard error.
func (o operator) run(t *testing.T, code int, stdin string, args ...string) (stdout, all string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), o.program, args...)
	cmd.Dir, cmd.Env, cmd.Stdin = o.dir, []string{"HOME=" + o.dir, "PATH="}, strings.NewReader(stdin)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("quad %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, errs.String()+out.String())
	}
	return out.String(), errs.String() + out.String()
}

// add gives the operator a context.
func (o operator) add(t *testing.T, name string, c installation.Context) {
	t.Helper()
	text, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	o.run(t, 0, string(text), "context", "add", name, "--file", "-")
}

// Operators work on any installation: the stack of these tests is one that the command
// knows only from a context.
func TestHTTP_OperatorsWorkFromAContext(t *testing.T) {
	s, o := sys, newOperator(t, sys)
	o.add(t, "here", s.Context())
	o.run(t, 0, "", "context", "use", "here")

	if _, all := o.run(t, 0, "", "doctor"); strings.Contains(all, "fault") {
		t.Errorf("doctor:\n%s", all)
	}
	sku := "operator-" + newKey()[:8]
	o.run(t, 0, "", "stock", "set", sku, "leeds=5")
	placed, _ := o.run(t, 0, "", "order", "place", "--customer", sku, "--sku", sku+"=2@450", "--json")
	var receipt struct {
		OrderID string `json:"order_id"`
	}
	if err := json.Unmarshal([]byte(placed), &receipt); err != nil {
		t.Fatalf("%v in %s", err, placed)
	}
	_, watched := o.run(t, 0, "", "order", "watch", receipt.OrderID)
	if !strings.HasPrefix(watched, "context here\n") || !strings.Contains(watched, "is confirmed") {
		t.Errorf("watch:\n%s", watched)
	}
	for command, want := range map[string]string{
		"order show " + receipt.OrderID:   "CONFIRMED",
		"order list --customer " + sku:    receipt.OrderID,
		"payment show " + receipt.OrderID: "completed, 9.00 GBP",
		"stock show " + sku:               "leeds",
		"b2b stuck":                       "nothing is stuck",
		"b2b approvals --approver nobody": "nothing waits for nobody",
	} {
		if _, all := o.run(t, 0, "", strings.Fields(command)...); !strings.Contains(all, want) {
			t.Errorf("quad %s lacks %q:\n%s", command, want, all)
		}
	}
	o.run(t, 0, "", "b2b", "company", "set", sku, "--limit", "1000000", "--warehouse", "leeds")
	if _, all := o.run(t, 0, "", "b2b", "company", "show", sku); !strings.Contains(all, "10000.00 GBP") {
		t.Errorf("the company:\n%s", all)
	}
	_, parked := o.run(t, 1, "", "parked", "show", receipt.OrderID)
	if !strings.Contains(parked, receipt.OrderID) {
		t.Errorf("an event that nobody parked:\n%s", parked)
	}
}

// The books are read whole from a context, and balance, as each test leaves them.
func TestHTTP_OperatorsVerifyFromAContext(t *testing.T) {
	s, o := sys, newOperator(t, sys)
	s.setStock(t, "verified", map[string]int64{"leeds": 10})
	s.expect(t, s.mustPlace(t, basketOf("verified", 1, "tok_success")), confirmed(250))
	o.add(t, "here", s.Context())
	out, _ := o.run(t, 0, "", "verify", "--settle", "2m", "--json", "--context", "here")
	var report struct {
		Checks []struct {
			Name    string `json:"name"`
			Checked int    `json:"checked"`
		} `json:"checks"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	checked := 0
	for _, c := range report.Checks {
		checked += c.Checked
	}
	if len(report.Checks) < 10 || checked < 10 {
		t.Errorf("verify made %d checks of %d things:\n%s", len(report.Checks), checked, out)
	}
}

// Who has only a part of the access still uses that part, and is told what the rest lacks.
func TestHTTP_OperatorsAreToldWhatAContextLacks(t *testing.T) {
	s, o := sys, newOperator(t, sys)
	whole := s.Context()
	change := func(name string, do func(*installation.Service)) {
		c := whole
		c.Services = make(map[string]installation.Service)
		for service, at := range whole.Services {
			if service == "order" {
				do(&at)
			}
			c.Services[service] = at
		}
		o.add(t, name, c)
	}
	change("wrong-token", func(at *installation.Service) { at.AdminToken = installation.Secret{Value: "wrong"} })
	change("no-database", func(at *installation.Service) { at.Database = installation.Secret{} })
	change("closed", func(at *installation.Service) { at.Public = "http://127.0.0.1:1" })
	change("may-write", func(at *installation.Service) {
		at.Database = installation.Secret{Value: s.DatabaseURL("order")}
	})
	readOnly := whole
	readOnly.ReadOnly = true
	o.add(t, "read-only", readOnly)

	for _, c := range []struct {
		command string
		code    int
		want    string
	}{
		{"parked list --service order --context wrong-token", 3, "context wrong-token: services.order.admin_token: the service has another"},
		{"order list --customer nobody --context wrong-token", 0, "customer nobody has no orders"},
		{"verify --context no-database", 3, "context no-database: services.order.database: is not set"},
		{"order list --customer nobody --context no-database", 0, "customer nobody has no orders"},
		{"order list --customer c1 --context closed", 3, "context closed: "},
		{"doctor --context may-write", 1, "services.order.database: the role order may write"},
		{"stock set closed leeds=1 --context read-only", 2, "context read-only is read_only"},
		{"b2b stuck --context read-only", 0, "nothing is stuck"},
	} {
		if _, all := o.run(t, c.code, "", strings.Fields(c.command)...); !strings.Contains(all, c.want) {
			t.Errorf("quad %s lacks %q:\n%s", c.command, c.want, all)
		}
	}
}
