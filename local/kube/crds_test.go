package kube

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"quadrille.internal/local/stack"
)

// What is checked by one version must not run as another.
func TestVersionsAgree(t *testing.T) {
	crds := read(t, "crds")
	for module, want := range map[string]string{
		"github.com/argoproj/argo-rollouts": version(read(t, "rollouts"), "github.com/argoproj/argo-rollouts"),
		"github.com/dapr/dapr":              "v" + stack.DaprVersion,
	} {
		if got := version(crds, module); got != want || got == "" {
			t.Errorf("the CRDs of %s are of %q, and %q is what runs", module, got, want)
		}
	}
	parts := regexp.MustCompile(`k8s\.io/\S+ => k8s\.io/\S+ (\S+)`)
	var versions []string
	for _, module := range []string{"kubernetes", "rollouts"} {
		for _, match := range parts.FindAllStringSubmatch(read(t, module), -1) {
			versions = append(versions, match[1])
		}
	}
	slices.Sort(versions)
	if all := slices.Compact(versions); len(all) != 1 || strings.Replace(all[0], "v0.", "v1.", 1) != version(read(t, "kubernetes"), "k8s.io/kubernetes") {
		t.Errorf("the parts of Kubernetes are of the versions %v", all)
	}
}

func version(goMod, module string) string {
	match := regexp.MustCompile(`(?m)^(?:require)?\s+` + regexp.QuoteMeta(module) + ` (\S+)(?: // indirect)?$`).FindStringSubmatch(goMod)
	if match == nil {
		return ""
	}
	return match[1]
}

func read(t *testing.T, module string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "toolchain", module, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// CRDs are read as their modules have them, without a server.
func TestReadCRDs(t *testing.T) {
	crds, err := ReadCRDs(t.Context(), filepath.Join("..", "toolchain", "crds"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, crd := range crds {
		names = append(names, crd.Name())
	}
	for _, want := range []string{
		"components.dapr.io", "configurations.dapr.io", "rollouts.argoproj.io", "analysistemplates.argoproj.io",
		"applicationsets.argoproj.io", "scaledobjects.keda.sh", "externalsecrets.external-secrets.io", "podmonitors.monitoring.coreos.com",
	} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among %v", want, names)
		}
	}
}

func TestAProgramThatEndsIsTold(t *testing.T) {
	_, err := Start(t.Context(), Config{Binary: "/bin/echo", Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "ended: exit status 0") || !strings.Contains(err.Error(), "=http://127.0.0.1:") {
		t.Errorf("err = %v, want how it ended and what it wrote", err)
	}
}
