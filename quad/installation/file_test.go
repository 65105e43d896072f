package installation

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write makes a file of contexts that only its owner may read.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "contexts.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// choose reads one context of a file.
func choose(path, name string) (Context, error) {
	file, err := ReadFile(path)
	if err != nil {
		return Context{}, err
	}
	return file.Context(name)
}

// Who reads the error knows which context and setting it is, and what to do.
func TestAContextThatCannotBeRightSaysWhatIsWrong(t *testing.T) {
	const whole = "contexts: {there: {services: {order: %s}}}"
	for _, c := range []struct {
		name, file string
		want       []string
	}{
		{"no such context", "contexts: {a: {services: {order: {}}}, b: {services: {order: {}}}}", []string{"no context there", "a, b", "quad context add"}},
		{"no services", "contexts: {there: {}}", []string{"context there", "services: there are none"}},
		{"a setting misspelt", strings.Replace(whole, "%s", "{pubic: 'http://x'}", 1), []string{"line 1: there is no setting pubic", "mend it there"}},
		{"an address without scheme", strings.Replace(whole, "%s", "{admin: '127.0.0.1:18402'}", 1),
			[]string{"context there: services.order.admin", `"127.0.0.1:18402" is no address such as http://`}},
		{"an address with a password", strings.Replace(whole, "%s", "{public: 'http://u:geheim@x'}", 1), []string{"services.order.public", "more than scheme, host and path"}},
		{"two places for a token", strings.Replace(whole, "%s", "{admin_token: {file: a, env: B}}", 1), []string{"services.order.admin_token", "one of file, env and value"}},
		{"a token that is no mapping", strings.Replace(whole, "%s", "{admin_token: geheim}", 1), []string{"line 1", "Secret"}},
		{"several faults", "contexts: {there: {services: {order: {admin: x}}, psp: {url: y}, erp: {key: {env: A, value: B}}}}", []string{"services.order.admin", "psp.url", "erp.key"}},
		{"local in the file", "contexts: {local: {services: {order: {}}}}", []string{"the name local is that of the stack on this machine"}},
		{"no YAML", "contexts: [", []string{"line 1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, c.file)
			_, err := choose(path, "there")
			if _, ok := errors.AsType[*EnvironmentError](err); !ok {
				t.Fatalf("the error is %v, want an EnvironmentError", err)
			}
			for _, want := range append(c.want, path) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error lacks %q: %v", want, err)
				}
			}
			if strings.Contains(err.Error(), "u:geheim") {
				t.Errorf("the error tells a password: %v", err)
			}
		})
	}
}

func TestAFileThatDoesNotExistHasNoContexts(t *testing.T) {
	file, err := ReadFile(filepath.Join(t.TempDir(), "none.yaml"))
	if err != nil || len(file.Names()) != 0 || file.Current != "" {
		t.Errorf("file %+v, error %v", file, err)
	}
}

func TestSecretsInTheFileAreForItsOwnerOnly(t *testing.T) {
	for _, c := range []struct {
		file string
		mode os.FileMode
		ok   bool
	}{
		{"contexts: {a: {services: {order: {admin_token: {value: t}}}}}", 0o644, false},
		{"contexts: {a: {services: {order: {admin_token: {value: t}}}}}", 0o600, true},
		{"contexts: {a: {services: {order: {admin_token: {file: t}}}}}", 0o644, true},
	} {
		path := write(t, c.file)
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := ReadFile(path)
		if (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("%s with mode %o: %v", c.file, c.mode, err)
		}
	}
}

func TestWrittenContextsAreReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "contexts.yaml")
	want := Context{ReadOnly: true, Services: map[string]Service{"order": {
		Public: "http://127.0.0.1:18400", Database: Secret{Env: "ORDER_URL"},
	}}}
	file := &File{Path: path, Current: "there", Contexts: map[string]Context{"there": want}}
	if err := file.Write(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	got, err := choose(path, "there")
	if err != nil || !got.ReadOnly || got.Services["order"] != want.Services["order"] {
		t.Errorf("read %+v, %v", got, err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); err != nil || len(left) != 1 {
		t.Errorf("the folder holds %v, %v", left, err)
	}
}

func TestMaskedContextsHoldNoSecret(t *testing.T) {
	secret := Secret{Value: "geheim"}
	c := Context{
		Services: map[string]Service{"order": {AdminToken: secret, Database: secret}},
		PSP:      Partner{Key: secret}, ERP: Partner{Key: Secret{File: "/erp.key"}},
	}
	masked := c.Masked()
	for _, got := range []Secret{masked.Services["order"].AdminToken, masked.Services["order"].Database, masked.PSP.Key} {
		if got == secret {
			t.Errorf("masked: %+v", masked)
		}
	}
	if masked.ERP.Key.File != "/erp.key" || c.Services["order"].AdminToken != secret {
		t.Errorf("masking changed more: %+v, %+v", masked, c)
	}
}
