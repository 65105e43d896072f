package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quadrille.internal/platform/config"
)

func reader(env map[string]string) *config.Reader {
	return config.NewReader(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
}

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestValuesAndFallbacks(t *testing.T) {
	r := reader(map[string]string{
		"NAME": "quad", "EMPTY": "", "ADDR": ":8080", "TTL": "90s", "ZERO": "0", "CONNS": "12", "LEVEL": "warn",
	})
	for _, c := range []struct{ got, want any }{
		{r.String("NAME", "x"), "quad"},
		{r.String("EMPTY", "x"), "x"},
		{r.String("MISSING", "x"), "x"},
		{r.Addr("ADDR", "127.0.0.1:1"), ":8080"},
		{r.Addr("MISSING", "127.0.0.1:1"), "127.0.0.1:1"},
		{r.Duration("TTL", time.Minute), 90 * time.Second},
		{r.Duration("MISSING", time.Minute), time.Minute},
		{r.Pause("TTL"), 90 * time.Second},
		{r.Pause("ZERO"), time.Duration(0)},
		{r.Pause("MISSING"), time.Duration(0)},
		{r.Int("CONNS", 10, 1, 20), 12},
		{r.Int("MISSING", 10, 1, 20), 10},
		{r.Choice("LEVEL", "info", "info", "warn"), "warn"},
		{r.Choice("MISSING", "info", "info", "warn"), "info"},
		{r.OptionalSecret("MISSING"), config.Secret("")},
	} {
		if c.got != c.want {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
	if err := r.Err(); err != nil {
		t.Error(err)
	}
}

func TestEveryFaultIsNamed(t *testing.T) {
	r := reader(map[string]string{
		"ADDR": "nowhere", "PORTLESS": "host:", "TTL": "soon", "NEGATIVE": "-1s", "CONNS": "1e3", "MANY": "201", "LEVEL": "loud", "PAUSE": "-1s",
		"LOST_FILE": "/no/such/file", "BLANK_FILE": file(t, " \n"),
	})
	r.Addr("ADDR", ":1")
	r.Addr("PORTLESS", ":1")
	for _, name := range []string{"TTL", "NEGATIVE"} {
		if d := r.Duration(name, time.Minute); d != time.Minute {
			t.Errorf("%s = %v beside its fault, want the fallback", name, d)
		}
	}
	for _, name := range []string{"CONNS", "MANY"} {
		if n := r.Int(name, 10, 1, 200); n != 10 {
			t.Errorf("%s = %d beside its fault, want the fallback", name, n)
		}
	}
	if d := r.Pause("PAUSE"); d != 0 {
		t.Errorf("PAUSE = %v beside its fault", d)
	}
	r.Choice("LEVEL", "info", "info", "warn")
	r.Secret("LOST")
	r.Secret("BLANK")
	r.Secret("UNSET")
	r.Fault("URL", errors.New("cannot be parsed"))
	err := r.Err()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`ADDR is "nowhere", want host:port`, `PORTLESS is "host:"`, `TTL is "soon", want a positive duration such as 1m0s`,
		`NEGATIVE is "-1s"`, `CONNS is "1e3", want a whole number from 1 to 200`, `MANY is "201"`, `PAUSE is "-1s", want a duration such as 5s, or 0`,
		`LEVEL is "loud", want one of info, warn`, "LOST_FILE cannot be read", "BLANK_FILE names an empty file",
		"UNSET is not set; set it, or UNSET_FILE to a file that holds it", "URL: cannot be parsed",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 12 {
		t.Errorf("%d faults, want 12:\n%v", n, err)
	}
}

func TestSecretsComeFromTheEnvironmentOrAFile(t *testing.T) {
	r := reader(map[string]string{
		"PLAIN": "hunter2", "MOUNTED_FILE": file(t, "hunter3\n"), "BOTH": "hunter4", "BOTH_FILE": file(t, "hunter5"),
	})
	for name, want := range map[string]string{"PLAIN": "hunter2", "MOUNTED": "hunter3", "BOTH": "hunter4"} {
		if got := r.Secret(name).Reveal(); got != want {
			t.Errorf("Secret(%s) = %q, want %q", name, got, want)
		}
		if got := r.OptionalSecret(name).Reveal(); got != want {
			t.Errorf("OptionalSecret(%s) = %q, want %q", name, got, want)
		}
	}
	if err := r.Err(); err != nil {
		t.Error(err)
	}
}

func TestNothingShowsASecret(t *testing.T) {
	const value = "hunter2"
	secret := config.Secret(value)
	type settings struct{ Password config.Secret }
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3s"} {
		fmt.Fprintf(&out, verb+verb, secret, settings{secret})
	}
	fmt.Fprintln(&out, secret, &secret, settings{secret}, []config.Secret{secret}, map[string]config.Secret{"k": secret})
	for _, v := range []any{secret, settings{secret}, map[string]config.Secret{"k": secret}} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	for _, h := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(h).Info("x", "secret", secret, "settings", settings{secret})
	}
	fmt.Fprint(&out, fmt.Errorf("with %v", secret))
	for _, leak := range []string{value, "hun", fmt.Sprintf("%x", value), fmt.Sprintf("%X", value)} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q leaks into:\n%s", leak, out.String())
		}
	}
}

func TestSettingsAreRecorded(t *testing.T) {
	r := reader(map[string]string{"TTL": "1s"})
	r.About("how long").Duration("TTL", 15*time.Minute)
	r.Int("CONNS", 10, 3, 200)
	r.About("the key").Secret("KEY")
	r.OptionalSecret("TOKEN")
	r.String("TTL", "again")
	want := []config.Setting{
		{Name: "TTL", Default: "15m0s", About: "how long"}, {Name: "CONNS", Default: "10"},
		{Name: "KEY", Required: true, Secret: true, About: "the key"}, {Name: "TOKEN", Secret: true},
	}
	if got := r.Settings(); !slices.Equal(got, want) {
		t.Errorf("recorded %+v\nwant %+v", got, want)
	}
}

// Where several services share a process, a setting can be given to one of them, and
// what must differ has to be.
func TestSettingsOfOneServiceOfSeveral(t *testing.T) {
	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte("from-file"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"QUADRILLE_LINGER": "1ms", "QUADRILLE_PAYMENT_LINGER": "3ms", "QUADRILLE_KEY": "shared",
		"QUADRILLE_DATABASE_URL": "shared", "QUADRILLE_PAYMENT_DATABASE_URL_FILE": file,
		"QUADRILLE_HTTP_ADDR": "127.0.0.1:1", "QUADRILLE_PAYMENT_CONNS": "many", "QUADRILLE_LEVEL": "loud",
	}
	all := config.NewReader(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	payment, order := all.For("payment"), all.For("order")
	if got := payment.Duration("QUADRILLE_LINGER", time.Second); got != 3*time.Millisecond {
		t.Errorf("payment's own linger is %v", got)
	}
	if got := order.Duration("QUADRILLE_LINGER", time.Second); got != time.Millisecond {
		t.Errorf("the others' linger is %v", got)
	}
	if got := payment.Secret("QUADRILLE_KEY"); got.Reveal() != "shared" {
		t.Errorf("a key of all is %q", got.Reveal())
	}
	for name, got := range map[string]config.Secret{
		"own":                  payment.Own().Secret("QUADRILLE_DATABASE_URL"),
		"own over that of all": payment.Secret("QUADRILLE_DATABASE_URL"),
	} {
		if got.Reveal() != "from-file" {
			t.Errorf("%s: the database is %q", name, got.Reveal())
		}
	}
	if got := payment.Own().SecretFile("QUADRILLE_DATABASE_URL"); got != file {
		t.Errorf("the database's file is %q", got)
	}
	if err := all.Err(); err != nil {
		t.Errorf("so far nothing is wrong, but %v", err)
	}
	order.Own().Secret("QUADRILLE_DATABASE_URL")
	if got := order.Own().Addr("QUADRILLE_HTTP_ADDR", "127.0.0.1:8080"); got != "127.0.0.1:8080" {
		t.Errorf("order listens on %s", got)
	}
	payment.Int("QUADRILLE_CONNS", 1, 1, 2)
	for _, r := range []*config.Reader{payment, order} {
		r.Choice("QUADRILLE_LEVEL", "low", "low", "high")
	}
	want := "QUADRILLE_ORDER_DATABASE_URL is not set; set it, or QUADRILLE_ORDER_DATABASE_URL_FILE to a file that holds it\n" +
		`QUADRILLE_PAYMENT_CONNS is "many", want a whole number from 1 to 2` + "\n" +
		`QUADRILLE_LEVEL is "loud", want one of low, high`
	if err := all.Err(); err == nil || err.Error() != want {
		t.Errorf("faults:\n%v\nwant:\n%s", err, want)
	}
}

func TestOneServiceAloneKeepsItsNames(t *testing.T) {
	env := map[string]string{"QUADRILLE_HTTP_ADDR": "127.0.0.1:1"}
	r := config.NewReader(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	if got := r.Own().Addr("QUADRILLE_HTTP_ADDR", "127.0.0.1:8080"); got != "127.0.0.1:1" {
		t.Errorf("listens on %s", got)
	}
	if got := r.Own().Addr("QUADRILLE_ADMIN_ADDR", "127.0.0.1:8082"); got != "127.0.0.1:8082" || r.Err() != nil {
		t.Errorf("listens on %s, %v", got, r.Err())
	}
}
