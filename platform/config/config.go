// Package config reads a process's settings from the environment, whole, at the
// start. Every fault is collected and named, so that one start shows them all.
package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Reader reads settings and remembers what was wrong with them.
type Reader struct {
	lookup func(string) (string, bool)
	faults []error
}

// NewReader reads from lookup, which is os.LookupEnv outside tests.
func NewReader(lookup func(string) (string, bool)) *Reader { return &Reader{lookup: lookup} }

// Err joins the faults of all reads so far.
func (r *Reader) Err() error { return errors.Join(r.faults...) }

func (r *Reader) fault(name, format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf("%s %s", name, fmt.Sprintf(format, args...)))
}

// String returns the value of name, or fallback where it is not set.
func (r *Reader) String(name, fallback string) string {
	if v, ok := r.lookup(name); ok && v != "" {
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

// Duration returns a positive duration such as "15m".
func (r *Reader) Duration(name string, fallback time.Duration) time.Duration {
	v := r.String(name, fallback.String())
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		r.fault(name, "is %q, want a positive duration such as %s", v, fallback)
	}
	return d
}

// Int returns a number within lowest and highest.
func (r *Reader) Int(name string, fallback, lowest, highest int) int {
	v := r.String(name, strconv.Itoa(fallback))
	n, err := strconv.Atoi(v)
	if err != nil || n < lowest || n > highest {
		r.fault(name, "is %q, want a whole number from %d to %d", v, lowest, highest)
	}
	return n
}

// Secret returns a required secret: the value of name, or the content of the
// file that name_FILE names, as mounted secrets come.
func (r *Reader) Secret(name string) Secret {
	if v, ok := r.lookup(name); ok && v != "" {
		return Secret(v)
	}
	path, ok := r.lookup(name + "_FILE")
	if !ok || path == "" {
		r.fault(name, "is not set; set it, or %s_FILE to a file that holds it", name)
		return ""
	}
	b, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		r.fault(name+"_FILE", "cannot be read: %v", err)
		return ""
	}
	v := strings.TrimSpace(string(b))
	if v == "" {
		r.fault(name+"_FILE", "names an empty file, %s", path)
	}
	return Secret(v)
}

// Secret is a value that no log shows.
type Secret string

// String masks the secret.
func (Secret) String() string { return "[secret]" }

// GoString masks the secret under %#v too.
func (Secret) GoString() string { return "[secret]" }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }
