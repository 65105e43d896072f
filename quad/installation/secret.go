package installation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Secret is a token, a key or a database's URL: the file or the environment variable that
// has it, or the text itself where the user wants that.
type Secret struct {
	File  string `yaml:"file,omitempty" json:"file,omitempty"`
	Env   string `yaml:"env,omitempty" json:"env,omitempty"`
	Value string `yaml:"value,omitempty" json:"value,omitempty"`
}

func (s Secret) isSet() bool { return s != Secret{} }

func (s Secret) check() error {
	given := 0
	for _, text := range []string{s.File, s.Env, s.Value} {
		if text != "" {
			given++
		}
	}
	if given > 1 {
		return errors.New("give one of file, env and value")
	}
	return nil
}

func (s Secret) masked() Secret {
	if s.Value != "" {
		s.Value = "(hidden)"
	}
	return s
}

// read returns the secret, without the blanks around it. A relative file is in dir.
func (s Secret) read(dir string) (string, error) {
	var text string
	switch {
	case s.Env != "":
		text = os.Getenv(s.Env)
	case s.File != "":
		path, err := s.path(dir)
		if err != nil {
			return "", err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		text = string(raw)
	default:
		text = s.Value
	}
	if text = strings.TrimSpace(text); text != "" {
		return text, nil
	}
	if s.Env != "" {
		return "", fmt.Errorf("the environment variable %s is not set", s.Env)
	}
	return "", fmt.Errorf("the file %s is empty", s.File)
}

func (s Secret) path(dir string) (string, error) {
	if rest, atHome := strings.CutPrefix(s.File, "~/"); atHome {
		home, err := os.UserHomeDir()
		return filepath.Join(home, rest), err
	}
	if filepath.IsAbs(s.File) {
		return s.File, nil
	}
	return filepath.Join(dir, s.File), nil
}
