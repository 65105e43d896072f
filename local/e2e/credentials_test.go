package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quadrille.internal/local/stack"
)

// A person who reads a service's environment, or its sidecar's, or asks the sidecar, gets
// no password of the broker or of the workflows' store.
func TestAccess_NobodyIsGivenTheBrokersPassword(t *testing.T) {
	s := sys
	var passwords []string
	files, err := filepath.Glob(filepath.Join(s.Dir, "secrets", "*.password")) // of database roles
	if err != nil || len(files) == 0 {
		t.Fatalf("find passwords: %v, %d files", err, len(files))
	}
	for _, name := range []string{"redis", "postgres"} {
		files = append(files, filepath.Join(s.Dir, "secrets", name))
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		passwords = append(passwords, strings.TrimSpace(string(text)))
	}
	for _, app := range s.Apps() {
		for _, part := range []string{app, stack.Sidecar(app)} {
			pid := s.running(t, part).PID
			for _, file := range []string{"environ", "cmdline"} {
				for _, value := range procStrings(t, pid, file) {
					if slices.ContainsFunc(passwords, func(p string) bool { return strings.Contains(value, p) }) {
						name, _, _ := strings.Cut(value, "=")
						t.Errorf("%s has a password in its %s: %s", part, file, name)
					}
				}
			}
		}
		for _, path := range []string{"bulk", "redis-password", "state-url"} {
			a := s.ask(t, http.MethodGet, s.DaprURL(app)+"/v1.0/secrets/secrets/"+path,
				map[string]string{"dapr-api-token": s.DaprAPIToken()}, nil)
			if body := string(a.body); slices.ContainsFunc(passwords, func(p string) bool { return strings.Contains(body, p) }) {
				t.Errorf("the sidecar of %s tells secrets: %d", app, a.status)
			}
		}
	}
}

// An app that nobody thought of gets neither the broker nor the store, and if it is
// let in to the broker by mistake, it may still neither publish nor subscribe.
func TestAccess_StrangersGetNothing(t *testing.T) {
	s := sys
	// Even credentials that somebody gave it by mistake do not help.
	s.giveSecrets(t, "stranger", "checkout")
	for _, c := range []struct {
		name       string
		components string
		want       int
	}{
		{"kept out", s.Components(), http.StatusNotFound},
		{"let in by mistake", s.unscoped(t), http.StatusForbidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			sidecar := s.foreignSidecar(t, "stranger", c.components)
			a := s.ask(t, http.MethodPost, sidecar+"/v1.0/publish/pubsub/order.confirmed",
				map[string]string{"dapr-api-token": s.DaprAPIToken()}, "{}")
			if a.status != c.want {
				t.Errorf("publishes: %d %s, want %d", a.status, a.body, c.want)
			}
		})
	}
}

// unscoped is a copy of the components that any app may load.
func (s *system) unscoped(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, file := range []string{"pubsub.yaml", "secrets.yaml"} {
		text, err := os.ReadFile(filepath.Join(s.Components(), file))
		if err != nil {
			t.Fatal(err)
		}
		text, _, _ = bytes.Cut(text, []byte("\nscopes:"))
		if err := os.WriteFile(filepath.Join(dir, file), append(text, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// giveSecrets gives an app the credentials of the components that checkout has, those of
// Kafka's user on three brokers, until the test ends.
func (s *system) giveSecrets(t *testing.T, app, user string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.Dir, "secrets", "sidecar", "checkout.json"))
	if err != nil {
		t.Fatal(err)
	}
	if onThreeBrokers {
		var secrets map[string]map[string]string
		password, err := os.ReadFile(filepath.Join(s.Dir, "secrets", user+".kafka"))
		if err = errors.Join(err, json.Unmarshal(text, &secrets)); err != nil {
			t.Fatal(err)
		}
		secrets["broker"]["username"], secrets["broker"]["password"] = user, strings.TrimSpace(string(password))
		if text, err = json.Marshal(secrets); err != nil {
			t.Fatal(err)
		}
	}
	given := filepath.Join(s.Dir, "secrets", "sidecar", app+".json")
	if err := os.WriteFile(given, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(given) })
}

// foreignSidecar starts a sidecar of an app that is none of ours, with the broker's
// credentials that such an app has, until the test ends.
func (s *system) foreignSidecar(t *testing.T, app, components string) (url string) {
	t.Helper()
	const raise = 50
	cmd := s.twin(t, stack.Sidecar("checkout"), raise)
	for flag, value := range map[string]string{"--app-id": app, "--resources-path": components} {
		cmd.Args[slices.Index(cmd.Args, flag)+1] = value
	}
	// It has no app, so it waits for none.
	i := slices.Index(cmd.Args, "--app-port")
	cmd.Args = slices.Delete(cmd.Args, i, i+2)
	startTwin(t, cmd)
	url = raised(s.DaprURL("checkout"), raise)
	eventually(t, readyTimeout, "sidecar of "+app, func(ctx context.Context) error {
		a, err := s.send(ctx, http.MethodGet, url+"/v1.0/healthz/outbound", nil, nil)
		if err == nil && a.status/100 != 2 {
			err = fmt.Errorf("%d %s", a.status, a.body)
		}
		return err
	})
	return url
}
