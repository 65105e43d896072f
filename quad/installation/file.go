package installation

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// File has a user's contexts.
type File struct {
	// Path is where it is, also if it does not exist.
	Path string `yaml:"-"`
	// Current is the context that is used unless another is named; "" is Local.
	Current  string             `yaml:"current,omitempty"`
	Contexts map[string]Context `yaml:"contexts"`
}

// EnvironmentError is a fault of the machine, of a context or of what it leads to, with
// what to do about it.
type EnvironmentError struct {
	Problem string
	Remedy  string
}

func (e *EnvironmentError) Error() string { return e.Problem + "; " + e.Remedy }

// FilePath is where the contexts are: QUADRILLE_CONFIG, or a file in the folder that the
// user's system keeps for settings.
func FilePath() (string, error) {
	if path := os.Getenv("QUADRILLE_CONFIG"); path != "" {
		return path, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", &EnvironmentError{"there is no folder for your contexts: " + err.Error(), "set HOME, or QUADRILLE_CONFIG to a file"}
	}
	return filepath.Join(dir, "quadrille", "contexts.yaml"), nil
}

// ReadFile reads the contexts; of a file that does not exist there are none.
func ReadFile(path string) (*File, error) {
	f := &File{Path: path, Contexts: make(map[string]Context)}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, &EnvironmentError{"your contexts cannot be read: " + err.Error(), "QUADRILLE_CONFIG names another file"}
	}
	if err := decode(text, f); err != nil {
		return nil, &EnvironmentError{fmt.Sprintf("%s: %v", path, err), "mend it there"}
	}
	if _, taken := f.Contexts[Local]; taken {
		return nil, &EnvironmentError{fmt.Sprintf("%s: the name %s is that of the stack on this machine", path, Local), "name the context otherwise"}
	}
	return f, f.checkMode()
}

// Parse reads one context as it is in the file.
func Parse(text []byte) (Context, error) {
	var c Context
	if err := decode(text, &c); err != nil {
		return c, err
	}
	return c, c.check()
}

// unknown is how the decoder says that there is no such setting.
var unknown = regexp.MustCompile(`field (\S+) not found in type \S+`)

// decode refuses settings that do not exist, and names the lines.
func decode(text []byte, v any) error {
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	err := d.Decode(v)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if faults, ok := errors.AsType[*yaml.TypeError](err); ok {
		return errors.New(unknown.ReplaceAllString(strings.Join(faults.Errors, ", "), "there is no setting $1"))
	}
	return err
}

// checkMode insists that nobody else can read secrets that are in the file itself.
func (f *File) checkMode() error {
	const others = 0o077
	info, err := os.Stat(f.Path)
	if err != nil || info.Mode()&others == 0 {
		return err
	}
	for name, c := range f.Contexts {
		if c.hasSecrets() {
			return &EnvironmentError{fmt.Sprintf("context %s has a secret, and others may read %s", name, f.Path), "chmod 600 " + f.Path}
		}
	}
	return nil
}

func (c *Context) hasSecrets() bool {
	secrets := []Secret{c.PSP.Key, c.ERP.Key}
	for _, s := range c.Services {
		secrets = append(secrets, s.AdminToken, s.Database)
	}
	return slices.ContainsFunc(secrets, func(s Secret) bool { return s.Value != "" })
}

// Names are the contexts of the file, by name.
func (f *File) Names() []string { return slices.Sorted(maps.Keys(f.Contexts)) }

// Context returns a context of the file, once its settings can be right.
func (f *File) Context(name string) (Context, error) {
	c, ok := f.Contexts[name]
	if !ok {
		have := cmp.Or(strings.Join(f.Names(), ", "), "none")
		return c, &EnvironmentError{
			fmt.Sprintf("there is no context %s in %s (there: %s)", name, f.Path, have),
			"quad context add makes one, quad context use chooses one",
		}
	}
	if err := c.check(); err != nil {
		return c, &EnvironmentError{fmt.Sprintf("context %s: %s", name, oneLine(err)), "mend it in " + f.Path}
	}
	return c, nil
}

// Remove takes a context out, and forgets its session, which goes on at identity.
func (f *File) Remove(name string) error {
	delete(f.Contexts, name)
	if f.Current == name {
		f.Current = ""
	}
	if err := os.Remove(sessionFile(f.Path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the session of context %s: %w", name, err)
	}
	return nil
}

// name is what a context may be called: it is typed on command lines.
var name = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*$`)

// CheckName says why a context of the file cannot be called so.
func CheckName(text string) error {
	switch {
	case text == Local:
		return fmt.Errorf("%s is the stack on this machine, and always there", Local)
	case !name.MatchString(text):
		return fmt.Errorf("%q is no name for a context: letters, digits, and . _ - between them", text)
	}
	return nil
}

// Write replaces the file, which only its owner may read.
func (f *File) Write() error {
	text, err := yaml.Marshal(f)
	if err != nil {
		return err
	}
	if err := writePrivate(f.Path, text); err != nil {
		return fmt.Errorf("write your contexts: %w", err)
	}
	return nil
}

// writePrivate replaces a file, which only its owner may read. Readers see the old text or
// the new one.
func writePrivate(path string, text []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, ".new-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) //nolint:errcheck // it was renamed, or is of no use
	_, err = temp.Write(text)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	return err
}

// oneLine joins what pgx and errors.Join write on several lines.
func oneLine(err error) string {
	lines := strings.Split(err.Error(), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(slices.Compact(lines), "; ")
}
