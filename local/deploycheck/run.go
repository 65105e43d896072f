package deploycheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"quadrille.internal/local/kube"
	"quadrille.internal/platform/service/declared"
)

// Config says what to check, and with what.
type Config struct {
	Root       string       // of the repository
	Kubernetes string       // the program that local/toolchain/kubernetes builds
	Collector  string       // the one of local/toolchain/collector; "" leaves that configuration unread
	Overlay    string       // the only environment to look at; "" is all
	Step       func(string) // told what is done next
}

// A Report is what was looked at and found.
type Report struct {
	Environments []string `json:"environments"`
	Objects      int      `json:"objects"` // of all environments
	Pods         int      `json:"pods"`    // of templates, admitted as their namespaces want
	// Unseen are kinds whose CRDs could not be had: their fields were not checked. So is the
	// configuration of the collector, where there is none to read it.
	Unseen []string `json:"unseen,omitempty"`
	Faults []Fault  `json:"faults"`
}

// ErrNoOverlay is that of an environment that deploy/ does not have.
var ErrNoOverlay = errors.New("there is no such overlay")

// Run checks deploy/. It returns an error only where it could not check.
func Run(ctx context.Context, cfg Config) (r *Report, err error) {
	t, err := readTree(cfg.Root)
	if err != nil {
		return nil, err
	}
	environments := t.environments()
	if cfg.Overlay != "" {
		if !contains(environments, cfg.Overlay) {
			return nil, fmt.Errorf("%w: %s is none of %s", ErrNoOverlay, cfg.Overlay, strings.Join(environments, ", "))
		}
		environments = []string{cfg.Overlay}
	}
	if len(environments) == 0 {
		environments = []string{""}
	}
	cfg.Step("reading what the services declare")
	services, err := readDeclarations(ctx, cfg.Root)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Join(cfg.Root, ".local"), "deploy-check-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	dapr, err := readChart(ctx, cfg.Root)
	if err != nil {
		return nil, fmt.Errorf("read Dapr's chart: %w", err)
	}
	cfg.Step("starting an API server with the CRDs")
	server, err := StartServer(ctx, cfg.Root, cfg.Kubernetes, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()

	r = &Report{Environments: environments, Faults: t.faults}
	for _, environment := range environments {
		cfg.Step(strings.TrimSpace("checking " + environment))
		manifests, faults, err := t.render(ctx, cfg.Kubernetes, environment)
		if err != nil {
			return nil, err
		}
		s := &set{manifests: manifests}
		s.pods = s.findPods()
		refused, unseen, err := admit(ctx, server.Client, manifests, s.pods, dapr.sidecar)
		if err != nil {
			return nil, fmt.Errorf("ask the API server: %w", err)
		}
		dapr.check(s)
		t.sources(s, environment)
		if cfg.Collector == "" {
			unseen = append(unseen, "configuration of the OpenTelemetry Collector")
		} else if err := s.collectors(ctx, cfg.Collector); err != nil {
			return nil, err
		}
		r.add(environment, slices.Concat(faults, refused, s.faults, check(manifests, services)))
		r.Objects += len(manifests)
		r.Pods += len(s.pods)
		for _, kind := range unseen {
			if !contains(r.Unseen, kind) {
				r.Unseen = append(r.Unseen, kind)
			}
		}
	}
	return r, nil
}

// add adds the faults of an environment. One that all have is reported once.
func (r *Report) add(environment string, faults []Fault) {
	for _, f := range faults {
		if slices.Contains(r.Faults, f) {
			continue
		}
		if !slices.ContainsFunc(r.Faults, func(other Fault) bool { other.Environment = ""; return other == f }) {
			f.Environment = environment
			r.Faults = append(r.Faults, f)
		}
	}
}

// readDeclarations asks the services as they are now, as quad generate does.
func readDeclarations(ctx context.Context, root string) (services []declared.Service, err error) {
	cmd := exec.CommandContext(ctx, "go", "run", "./local/generate", "-declarations")
	cmd.Dir = root
	out, err := cmd.Output()
	if refused, is := errors.AsType[*exec.ExitError](err); is {
		return nil, fmt.Errorf("read what the services declare: %w\n%s", err, refused.Stderr)
	}
	if err != nil {
		return nil, fmt.Errorf("read what the services declare: %w", err)
	}
	return services, json.Unmarshal(out, &services)
}

// StartServer starts an API server that has the CRDs of what deploy/ uses. Its data is in
// dir.
func StartServer(ctx context.Context, root, kubernetes, dir string) (*kube.Server, error) {
	crds, err := kube.ReadCRDs(ctx, filepath.Join(root, "local", "toolchain", "crds"))
	if err != nil {
		return nil, err
	}
	server, err := kube.Start(ctx, kube.Config{Binary: kubernetes, Dir: dir})
	if err != nil {
		return nil, err
	}
	for _, crd := range crds {
		if err := server.Apply(ctx, crd); err != nil {
			return nil, errors.Join(fmt.Errorf("add the CRD %s: %w", crd.Name(), err), server.Stop())
		}
	}
	for _, crd := range crds {
		if err := established(ctx, server.Client, crd); err != nil {
			return nil, errors.Join(err, server.Stop())
		}
	}
	return server, nil
}
