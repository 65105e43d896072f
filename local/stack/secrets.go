package stack

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

func (s *Stack) secretFile(name string) string { return filepath.Join(s.Dir, "secrets", name) }

// secret returns a password or token of this stack and makes one up the first
// time. Only the owner may read the file.
func (s *Stack) secret(name string) (string, error) {
	text, err := os.ReadFile(s.secretFile(name))
	if err == nil {
		return strings.TrimSpace(string(text)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read secret: %w", err)
	}
	value := randomSecret()
	return value, s.writeSecret(name, value)
}

func (s *Stack) writeSecret(name, value string) error {
	if err := os.WriteFile(s.secretFile(name), []byte(value+"\n"), 0o600); err != nil {
		return fmt.Errorf("write secret: %w", err)
	}
	return nil
}

func randomSecret() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(raw[:])
}

// stateStoreUsers are the apps whose sidecars open the workflows' store: its component is
// scoped to them, as their declarations say.
func (s *Stack) stateStoreUsers() ([]string, error) {
	path := filepath.Join(s.run.Common.ResourcesPaths[0], "statestore.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read which apps have workflows: %w", err)
	}
	var component struct {
		Scopes []string `yaml:"scopes"`
	}
	if err := yaml.Unmarshal(text, &component); err != nil {
		return nil, fmt.Errorf("read which apps have workflows, in %s: %w", path, err)
	}
	return component.Scopes, nil
}

// writeSidecarSecrets gives each sidecar a file with what its own components need, for
// the secret store of components/*/secrets.yaml. Kubernetes has secrets of the same
// names and keys.
func (s *Stack) writeSidecarSecrets() error {
	if err := os.MkdirAll(s.secretFile("sidecar"), 0o700); err != nil {
		return err
	}
	users, err := s.stateStoreUsers()
	if err != nil {
		return err
	}
	apps := s.Apps()
	if s.OneProcess() {
		apps = append(apps, Together)
	}
	for _, app := range apps {
		broker, err := s.brokerSecrets(app)
		if err != nil {
			return err
		}
		secrets := map[string]map[string]string{"broker": broker}
		if slices.Contains(users, app) {
			secrets["statestore"] = map[string]string{"url": s.databaseURL(stateStore, s.passwords[stateStore], stateStore)}
		}
		text, err := json.MarshalIndent(secrets, "", "  ")
		if err != nil {
			return err
		}
		if err := s.writeSecret(filepath.Join("sidecar", app+".json"), string(text)); err != nil {
			return err
		}
	}
	return nil
}

// notInherited are variables that may be set for quad and hold credentials that no
// part is to have.
var notInherited = []string{
	"QUADRILLE_POSTGRES", "QUADRILLE_REDIS", "QUADRILLE_REDIS_PASSWORD", "QUADRILLE_STATE_URL",
	"QUADRILLE_KAFKA_USERNAME", "QUADRILLE_KAFKA_PASSWORD", "QUADRILLE_KAFKA_CLIENT_CERT", "QUADRILLE_KAFKA_CLIENT_KEY",
}

// inheritable is quad's own environment without credentials.
func inheritable(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(notInherited, name)
	})
}
