package stack

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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
	var raw [24]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(raw[:])
}
