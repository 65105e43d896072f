package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quadrille.internal/quad/installation"
)

// --dir is always the local stack; otherwise the current context is meant, if there is one.
func TestWhichInstallationIsMeant(t *testing.T) {
	chdirToCheckout(t)
	contexts := filepath.Join(t.TempDir(), "contexts.yaml")
	t.Setenv("QUADRILLE_CONFIG", contexts)
	const elsewhere = "contexts: {elsewhere: {services: {order: {public: 'http://127.0.0.1:1'}}}}\n"
	for _, c := range []struct {
		contexts string
		args     []string
		want     string
	}{
		{elsewhere, nil, "make up"},
		{elsewhere, []string{"--context", "elsewhere"}, "context elsewhere"},
		{elsewhere + "current: elsewhere", nil, "context elsewhere"},
		{elsewhere + "current: elsewhere", []string{"--context", "local"}, "make up"},
		{elsewhere + "current: elsewhere", []string{"--dir", t.TempDir()}, "make up"},
		{"contexts: [", []string{"--context", "local"}, "make up"},
		{"contexts: [", []string{"--dir", t.TempDir()}, "make up"},
		{"contexts: [", nil, contexts},
	} {
		if err := os.WriteFile(contexts, []byte(c.contexts), 0o600); err != nil {
			t.Fatal(err)
		}
		root := newRoot()
		root.SetArgs(append([]string{"order", "show", "019aa0c2-6f0e-7d51-b1a7-1e1e4c0e9d3a", "--json"}, c.args...))
		err := root.Execute()
		if _, ok := errors.AsType[*installation.EnvironmentError](err); !ok || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v with %s: %v, want %q", c.args, c.contexts, err, c.want)
		}
	}
}

// chdirToCheckout is about a checkout with a stack that never ran.
func chdirToCheckout(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile("../dapr.yaml")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "local"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "local", "dapr.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(root)
}
