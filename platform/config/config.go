// Package config reads a process's settings from the environment, whole, at the
// start. Every fault is collected and named, so that one start shows them all.
package config

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// prefix begins the names of all settings that are ours.
const prefix = "QUADRILLE_"

// Reader reads settings and remembers them, and what was wrong with them.
type Reader struct {
	*memory // shared with the readers that For and Own return
	lookup  func(string) (string, bool)
	// service is whose settings these are, where a process has several.
	service string
	own     bool
}

type memory struct {
	faults   []error
	settings []Setting
	about    string // the next one
}

// Setting is something that was read.
type Setting struct {
	Name string
	// Default is empty where there is none: the setting is required, or optional.
	Default  string
	Required bool
	Secret   bool
	// About is what the setting means, in a line for the documents.
	About string
}

// NewReader reads from lookup, which is os.LookupEnv outside tests.
func NewReader(lookup func(string) (string, bool)) *Reader {
	return &Reader{memory: new(memory), lookup: lookup}
}

// About says what the setting that is read next means: r.About("...").Int(...).
func (r *Reader) About(meaning string) *Reader {
	r.about = meaning
	return r
}

// Settings are those read so far, in the order of their first reading.
func (r *Reader) Settings() []Setting { return slices.Clone(r.settings) }

func (r *Reader) record(s Setting) {
	s.About, r.about = r.about, ""
	if !slices.ContainsFunc(r.settings, func(had Setting) bool { return had.Name == s.Name }) {
		r.settings = append(r.settings, s)
	}
}

// For returns a reader of the settings of one service among several in a process:
// QUADRILLE_PAYMENT_X wins over QUADRILLE_X for payment. Its faults are r's too.
func (r *Reader) For(service string) *Reader {
	return &Reader{memory: r.memory, lookup: r.lookup, service: service}
}

// Own returns a reader of settings that each service has for itself, such as its
// database: among several services only the name with the prefix counts. It is r where
// a process has one service.
func (r *Reader) Own() *Reader {
	if r.service == "" {
		return r
	}
	return &Reader{memory: r.memory, lookup: r.lookup, service: r.service, own: true}
}

// Name returns how a setting is called that r reads: with the prefix where it must
// have one.
func (r *Reader) Name(name string) string {
	rest, ours := strings.CutPrefix(name, prefix)
	if !r.own || !ours {
		return name
	}
	return r.prefixed(rest)
}

func (r *Reader) prefixed(rest string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(r.service, "-", "_")) + "_" + rest
}

// find returns the value of the first name that is set, and that name.
func (r *Reader) find(name string) (v, as string, set bool) {
	names := []string{r.Name(name)}
	if rest, ours := strings.CutPrefix(name, prefix); ours && r.service != "" && !r.own {
		names = []string{r.prefixed(rest), name}
	}
	for _, as := range names {
		if v, ok := r.lookup(as); ok && v != "" {
			return v, as, true
		}
	}
	return "", r.Name(name), false
}

// Err joins the faults of all reads so far, each once.
func (r *Reader) Err() error {
	var faults []error
	told := make(map[string]bool)
	for _, err := range r.faults {
		if !told[err.Error()] {
			told[err.Error()] = true
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// fault notes a fault of a setting under the name that it was read by.
func (r *Reader) fault(name, format string, args ...any) {
	_, as, _ := r.find(name)
	r.faults = append(r.faults, fmt.Errorf("%s %s", as, fmt.Sprintf(format, args...)))
}

// String returns the value of name, or fallback where it is not set.
func (r *Reader) String(name, fallback string) string {
	r.record(Setting{Name: name, Default: fallback})
	if v, _, ok := r.find(name); ok {
		return v
	}
	return fallback
}

// Addr returns a host:port to listen on.
func (r *Reader) Addr(name, fallback string) string {
	v := r.String(name, fallback)
	if _, port, err := net.SplitHostPort(v); err != nil || port == "" {
		r.fault(name, "is %q, want host:port", v)
	}
	return v
}

// URL returns an http or https URL without a slash at its end, or "" where it may be unset
// and is.
func (r *Reader) URL(name, fallback string) string {
	v := r.String(name, fallback)
	if v == "" {
		return ""
	}
	u, err := url.Parse(v)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		r.fault(name, "is not a URL such as http://127.0.0.1:18140")
	}
	return strings.TrimRight(v, "/")
}

// Duration returns a positive duration such as "15m".
func (r *Reader) Duration(name string, fallback time.Duration) time.Duration {
	v := r.String(name, fallback.String())
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		r.fault(name, "is %q, want a positive duration such as %s", v, fallback)
		return fallback
	}
	return d
}

// Pause returns a duration such as "5s", which may be 0 and is where name is not set.
func (r *Reader) Pause(name string) time.Duration {
	v := r.String(name, "0s")
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		r.fault(name, "is %q, want a duration such as 5s, or 0", v)
		return 0
	}
	return d
}

// Int returns a number within lowest and highest.
func (r *Reader) Int(name string, fallback, lowest, highest int) int {
	v := r.String(name, strconv.Itoa(fallback))
	n, err := strconv.Atoi(v)
	if err != nil || n < lowest || n > highest {
		r.fault(name, "is %q, want a whole number from %d to %d", v, lowest, highest)
		return fallback
	}
	return n
}

// Choice returns one of a few values.
func (r *Reader) Choice(name, fallback string, options ...string) string {
	v := r.String(name, fallback)
	if !slices.Contains(options, v) {
		r.fault(name, "is %q, want one of %s", v, strings.Join(options, ", "))
	}
	return v
}

// Fault notes that the value of name is of no use, and why.
func (r *Reader) Fault(name string, err error) {
	_, as, _ := r.find(name)
	r.faults = append(r.faults, fmt.Errorf("%s: %w", as, err))
}

// Secret returns a required secret: the value of name, or the content of the
// file that name_FILE names, as mounted secrets come.
func (r *Reader) Secret(name string) Secret {
	r.record(Setting{Name: name, Required: true, Secret: true})
	v, set := r.secret(name)
	if !set {
		r.fault(name, "is not set; set it, or %s_FILE to a file that holds it", r.Name(name))
	}
	return v
}

// OptionalSecret returns a secret like Secret, or "" where neither is set.
func (r *Reader) OptionalSecret(name string) Secret {
	r.record(Setting{Name: name, Secret: true})
	v, _ := r.secret(name)
	return v
}

func (r *Reader) secret(name string) (v Secret, set bool) {
	plain, path := r.secretOrFile(name)
	if plain != "" {
		return Secret(plain), true
	}
	if path == "" {
		return "", false
	}
	v, err := ReadSecret(path)
	if err != nil {
		r.fault(name+"_FILE", "%v", err)
	}
	return v, true
}

// SecretFile returns the path of the file that a secret is read from, or "" where it
// is not in a file.
func (r *Reader) SecretFile(name string) string {
	_, path := r.secretOrFile(name)
	return path
}

// secretOrFile returns a secret's value or the path of its file. What is set for the
// service wins, and a value over a file.
func (r *Reader) secretOrFile(name string) (v, path string) {
	if v, as, set := r.find(name); set && (as != name || r.service == "") {
		return v, ""
	}
	if path, as, set := r.find(name + "_FILE"); set && (as != name+"_FILE" || r.service == "") {
		return "", path
	}
	if v, _, set := r.find(name); set {
		return v, ""
	}
	path, _, _ = r.find(name + "_FILE")
	return "", path
}

// ReadSecret reads the secret that a file holds now.
func ReadSecret(path string) (Secret, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", err)
	}
	v := Secret(strings.TrimSpace(string(b)))
	if v == "" {
		return "", fmt.Errorf("names an empty file, %s", path)
	}
	return v, nil
}

// Secret is a value that no log shows, nor JSON. It does show where fmt prints
// it within an unexported field.
type Secret string

const masked = "[secret]"

// String masks the secret.
func (Secret) String() string { return masked }

// Format masks the secret under every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, masked) }

// MarshalText masks the secret in JSON and in logs.
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }
