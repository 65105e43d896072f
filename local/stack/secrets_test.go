package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestEachSidecarHasTheSecretsOfItsOwnComponents(t *testing.T) {
	s, _ := newStack(t)
	t.Run("as declared", func(t *testing.T) { hasItsSecrets(t, s, "b2b") })
	s.run.Common.ResourcesPaths = []string{t.TempDir()}
	store := filepath.Join(s.run.Common.ResourcesPaths[0], "statestore.yaml")
	if err := os.WriteFile(store, []byte("scopes: [order, b2b]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("another service has workflows", func(t *testing.T) { hasItsSecrets(t, s, "order", "b2b") })
}

// hasItsSecrets looks at each sidecar's file; some apps have workflows.
func hasItsSecrets(t *testing.T, s *Stack, workflows ...string) {
	t.Helper()
	if err := s.writeSidecarSecrets(); err != nil {
		t.Fatal(err)
	}
	for _, app := range s.Apps() {
		path := filepath.Join(s.Dir, "secrets", "sidecar", app+".json")
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%s: %v, %v", path, info, err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var secrets map[string]map[string]string
		if err := json.Unmarshal(text, &secrets); err != nil {
			t.Fatal(err)
		}
		if secrets["broker"]["password"] != s.redis.password {
			t.Errorf("%s lacks the broker's password", app)
		}
		if _, has := secrets["statestore"]; has != slices.Contains(workflows, app) || len(secrets) > 2 {
			t.Errorf("the sidecar of %s has %d secrets, that of the state store: %t", app, len(secrets), has)
		}
	}
}

// Servers named by the environment have their credentials there, for quad alone.
func TestNothingInheritsQuadsOwnCredentials(t *testing.T) {
	s, _ := newStack(t)
	for _, name := range notInherited {
		t.Setenv(name, "secret of "+name)
	}
	p := sleeper(t, s, "worker")
	var environ []byte
	await(t, func() (err error) {
		environ, err = os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.PID))
		if err == nil && len(environ) == 0 { // the kernel is just replacing the program
			err = errors.New("no environment yet")
		}
		return err
	})
	if strings.Contains(string(environ), "secret of") || !slices.Contains(strings.Split(string(environ), "\x00"), marker+"="+s.Dir) {
		t.Errorf("a process inherits %q", environ)
	}
}

func TestExternalKafkasCredentialsAreSecrets(t *testing.T) {
	for name, value := range map[string]string{
		"QUADRILLE_KAFKA_BROKERS": "kafka:9092", "QUADRILLE_KAFKA_AUTH_TYPE": "password",
		"QUADRILLE_KAFKA_USERNAME": "quadrille", "QUADRILLE_KAFKA_PASSWORD": "hidden",
	} {
		t.Setenv(name, value)
	}
	s, err := New(Options{Dir: t.TempDir(), PortShift: testShift, Broker: Kafka})
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := s.brokerSecrets("checkout")
	if err != nil || secrets["username"] != "quadrille" || secrets["password"] != "hidden" || secrets["clientKey"] != "" {
		t.Errorf("secrets of the broker: %q", secrets)
	}
	if env := strings.Join(s.brokerEnv(), "\n"); strings.Contains(env, "hidden") {
		t.Errorf("environment of sidecars: %s", env)
	}
}
