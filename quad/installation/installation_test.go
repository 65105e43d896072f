package installation

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/rest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open reads a context called there and prepares its connections.
func open(t *testing.T, text string) *Installation {
	t.Helper()
	file, err := ReadFile(write(t, text))
	if err != nil {
		t.Fatal(err)
	}
	c, err := file.Context("there")
	if err != nil {
		t.Fatal(err)
	}
	i := Open("there", c, Options{File: file})
	t.Cleanup(i.Close)
	return i
}

// What a command does not need may be missing; what it needs is named.
func TestWhatIsMissingIsToldWhenItIsNeeded(t *testing.T) {
	i := open(t, `contexts: {there: {services: {
		order: {admin: 'http://127.0.0.1:1', admin_token: {file: none/order.admin}, database: {value: 'not a url'}},
		payment: {admin: 'http://127.0.0.1:1', admin_token: {env: QUADRILLE_TEST_NO_SUCH_VARIABLE}},
		b2b: {admin: 'http://127.0.0.1:1', admin_token: {file: empty}}}, psp: {url: 'http://127.0.0.1:1'}}}`)
	if err := os.WriteFile(filepath.Join(filepath.Dir(i.where), "empty"), []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		do   func() error
		want string
	}{
		"a file that is not there": {func() error { _, err := i.Client.Order(t.Context(), uuid.New()); return err }, "services.order.admin_token: open " + filepath.Dir(i.where)},
		"a variable not set":       {func() error { _, err := i.Admin("payment").RefusedPayments(t.Context()); return err }, "services.payment.admin_token: the environment variable QUADRILLE_TEST_NO_SUCH_VARIABLE is not set"},
		"an empty file":            {func() error { _, err := i.Admin("b2b").Parked(t.Context(), "", 1); return err }, "services.b2b.admin_token: the file empty is empty"},
		"no public port":           {func() error { _, err := i.Client.Orders(t.Context(), "c1", 1); return err }, "services.order.public: is not set"},
		"no such service":          {func() error { _, err := i.Client.Stock(t.Context(), "A1"); return err }, "services.inventory.admin: is not set"},
		"no database":              {func() error { _, err := i.Database(t.Context(), "payment"); return err }, "services.payment.database: is not set"},
		"no database of a service that is not named": {func() error { _, err := i.Database(t.Context(), "checkout"); return err }, "services.checkout.database: is not set"},
		"a database that is no URL":                  {func() error { _, err := i.Database(t.Context(), "order"); return err }, "services.order.database: is no URL of a database"},
		"no key":                                     {func() error { _, err := i.Ledger(); return err }, "psp.key: is not set"},
		"no ERP":                                     {func() error { _, err := i.ERPBooks(); return err }, "erp.url: is not set"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.do()
			if _, ok := errors.AsType[*EnvironmentError](err); !ok || !strings.Contains(err.Error(), "context there: "+c.want) || !strings.Contains(err.Error(), "mend it in "+i.where) {
				t.Errorf("the error is %v, want context there: %s, and where to mend it", err, c.want)
			}
		})
	}
}

// A secret's file is found in the folder of the contexts, and in the home folder.
func TestSecretsAreFound(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("QUADRILLE_TEST_TOKEN", " from the environment\n")
	for path, text := range map[string]string{filepath.Join(home, "at-home"): "from home\n", filepath.Join(dir, "near"): "from near"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		secret Secret
		want   string
	}{
		{Secret{File: "~/at-home"}, "from home"},
		{Secret{File: "near"}, "from near"},
		{Secret{File: filepath.Join(home, "at-home")}, "from home"},
		{Secret{Env: "QUADRILLE_TEST_TOKEN"}, "from the environment"},
		{Secret{Value: "as it is"}, "as it is"},
	} {
		if got, err := c.secret.read(dir); err != nil || got != c.want {
			t.Errorf("%+v is %q, %v, want %q", c.secret, got, err, c.want)
		}
	}
}

// A database that refuses a login is told with the context too, and not with a password.
func TestLoginsThatFailAreExplained(t *testing.T) {
	server, err := url.Parse(pgtest.New(t).Runtime)
	if err != nil {
		t.Fatal(err)
	}
	server.Path = "/no_such_database"
	i := open(t, `contexts: {there: {services: {order: {database: {value: '`+server.String()+`'}}}}}`)
	pool, err := i.Database(t.Context(), "order")
	if err != nil {
		t.Fatal(err)
	}
	err = i.Explain(pool.Ping(t.Context()))
	if _, ok := errors.AsType[*EnvironmentError](err); !ok || !strings.Contains(err.Error(), "context there: ") || !strings.Contains(err.Error(), "no_such_database") {
		t.Errorf("the error is %v", err)
	}
	if password, set := server.User.Password(); set && strings.Contains(err.Error(), password) {
		t.Errorf("the error tells the password: %v", err)
	}
}

// What the network says is told with the context and what can be done.
func TestErrorsOfTheNetworkAreExplained(t *testing.T) {
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer right" {
			rest.WriteProblem(w, r, fault.New(fault.Unauthorized, "token", "Send the token."))
		}
	}))
	defer refuses.Close()
	i := open(t, `contexts: {there: {services: {
		order: {admin: '`+refuses.URL+`/', admin_token: {value: wrong}},
		payment: {admin: 'http://127.0.0.1:1', admin_token: {value: t}},
		b2b: {admin: 'http://no-such-host.invalid', admin_token: {value: t}}}}}`)
	for service, want := range map[string][]string{
		"order":   {"context there", "services.order.admin_token"},
		"payment": {"context there", "127.0.0.1:1", "quad doctor --context there"},
		"b2b":     {"context there", "no-such-host.invalid", "quad doctor --context there"},
	} {
		_, err := i.Admin(service).Parked(t.Context(), "", 1)
		err = i.Explain(err)
		if _, ok := errors.AsType[*EnvironmentError](err); !ok {
			t.Errorf("%s: the error is %v, want an EnvironmentError", service, err)
			continue
		}
		for _, text := range want {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: the error lacks %q: %v", service, text, err)
			}
		}
	}
}
