package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// crdFiles says where modules keep their CRDs.
var crdFiles = map[string]string{ //nolint:gosec // file names, no credentials
	"github.com/argoproj/argo-cd/v3":                     "manifests/crds/*-crd.yaml",
	"github.com/argoproj/argo-rollouts":                  "manifests/crds/*-crd.yaml",
	"github.com/dapr/dapr":                               "charts/dapr/crds/*.yaml",
	"github.com/external-secrets/external-secrets":       "config/crds/bases/*.yaml",
	"github.com/kedacore/keda/v2":                        "config/crd/bases/*.yaml",
	"github.com/prometheus-operator/prometheus-operator": "example/prometheus-operator-crd/*.yaml",
}

// ReadCRDs reads the CRDs of the modules that dir's go.mod requires. What is not there is
// downloaded, and dir's go.sum says what it must be.
func ReadCRDs(ctx context.Context, dir string) (crds []Object, err error) {
	modules, err := required(ctx, dir)
	if err != nil {
		return nil, err
	}
	for _, module := range modules {
		pattern, known := crdFiles[module.Path]
		if !known {
			return nil, fmt.Errorf("%s: it is not known where %s keeps its CRDs: add it to crdFiles", dir, module.Path)
		}
		at, err := download(ctx, dir, module.Path, module.Version)
		if err != nil {
			return nil, err
		}
		paths, err := filepath.Glob(filepath.Join(at, pattern))
		if err != nil || len(paths) == 0 {
			return nil, errors.Join(err, fmt.Errorf("%s %s has no CRDs at %s", module.Path, module.Version, pattern))
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			objects, err := Decode(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			for _, o := range objects {
				if o.Kind() == "CustomResourceDefinition" {
					crds = append(crds, o)
				}
			}
		}
	}
	return crds, nil
}

// Module returns the folder and the version of a module that dir's go.mod requires. It is downloaded
// where it is not there.
func Module(ctx context.Context, dir, path string) (at, version string, err error) {
	modules, err := required(ctx, dir)
	if err != nil {
		return "", "", err
	}
	for _, module := range modules {
		if module.Path == path {
			at, err := download(ctx, dir, path, module.Version)
			return at, module.Version, err
		}
	}
	return "", "", fmt.Errorf("%s does not require %s", dir, path)
}

type module struct{ Path, Version string }

// required are the modules that dir's go.mod names.
func required(ctx context.Context, dir string) ([]module, error) {
	var file struct{ Require []module }
	err := goJSON(ctx, dir, &file, "mod", "edit", "-json")
	return file.Require, err
}

func download(ctx context.Context, dir, path, version string) (at string, err error) {
	var found struct{ Dir string }
	err = goJSON(ctx, dir, &found, "mod", "download", "-json", path+"@"+version)
	return found.Dir, err
}

func goJSON(ctx context.Context, dir string, into any, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if refused, is := errors.AsType[*exec.ExitError](err); is {
		return fmt.Errorf("go %v: %w\n%s%s", args, err, refused.Stderr, out)
	}
	if err != nil {
		return fmt.Errorf("go %v: %w", args, err)
	}
	return json.Unmarshal(out, into)
}
