package deploycheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"quadrille.internal/local/kube"
)

const (
	kustomization = "kustomization.yaml"
	overlays      = "overlays"
	origin        = "config.kubernetes.io/origin"
)

// A tree is the folder deploy/ as it was read.
type tree struct {
	root    string   // of the repository
	folders []string // with a kustomization that no other includes, from root
	plain   []string // manifests that no kustomization reads, from root
	faults  []Fault
}

// readTree finds what there is to render, and reads every YAML file strictly: kustomize
// would take the last of two equal keys.
func readTree(root string) (*tree, error) {
	t := &tree{root: root}
	kinds, included := make(map[string]string), make(map[string]bool)
	var files []string
	err := filepath.WalkDir(filepath.Join(root, "deploy"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		file, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		files = append(files, file)
		documents, err := readYAML(path)
		if err != nil {
			t.faults = append(t.faults, Fault{File: file, Problem: err.Error(), Remedy: "correct the YAML"})
			return nil //nolint:nilerr // it is among the faults
		}
		if entry.Name() != kustomization || len(documents) == 0 {
			return nil
		}
		dir := filepath.Dir(file)
		kinds[dir] = documents[0].Kind()
		for _, list := range []string{"resources", "components", "bases"} {
			for _, other := range documents[0].Texts(list) {
				included[filepath.Join(dir, other)] = true
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read deploy/: %w", err)
	}
	for dir, kind := range kinds {
		if kind != "Component" && !included[dir] {
			t.folders = append(t.folders, dir)
		}
	}
	slices.Sort(t.folders)
	for _, file := range files {
		if !below(file, kinds) {
			t.plain = append(t.plain, file)
		}
	}
	return t, nil
}

// below reports whether a file is in a folder with a kustomization or below one.
func below(file string, kinds map[string]string) bool {
	for dir := filepath.Dir(file); dir != "."; dir = filepath.Dir(dir) {
		if _, is := kinds[dir]; is {
			return true
		}
	}
	return false
}

func readYAML(path string) (documents []kube.Object, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var document any
		switch err := decoder.Decode(&document); {
		case errors.Is(err, io.EOF):
			return documents, nil
		case err != nil:
			return nil, err
		}
		if o := kube.Map(document); o != nil {
			documents = append(documents, o)
		}
	}
}

// environments are the names of the overlays.
func (t *tree) environments() (names []string) {
	for _, folder := range t.folders {
		if name := environmentOf(folder); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// environmentOf is the name behind "overlays" in a path, or "".
func environmentOf(folder string) string {
	parts := strings.Split(folder, string(filepath.Separator))
	if i := slices.Index(parts, overlays); i >= 0 && i+1 < len(parts) {
		return parts[i+1]
	}
	return ""
}

// render returns the manifests of an environment.
func (t *tree) render(ctx context.Context, kubernetes, environment string) (found []manifest, faults []Fault, err error) {
	for _, file := range t.plain {
		documents, err := readYAML(filepath.Join(t.root, file))
		if err != nil {
			continue // reported when the tree was read
		}
		for _, o := range documents {
			if o.Kind() != "" && o.APIVersion() != "" {
				found = append(found, manifest{o, file})
			}
		}
	}
	for _, folder := range t.folders {
		if of := environmentOf(folder); of != "" && of != environment {
			continue
		}
		rendered, err := t.kustomize(ctx, kubernetes, folder)
		if refused, is := errors.AsType[*exec.ExitError](err); is {
			faults = append(faults, Fault{File: filepath.Join(folder, kustomization),
				Problem: strings.TrimSpace(string(refused.Stderr)), Remedy: "correct it until kubectl kustomize renders it"})
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("render %s: %w", folder, err)
		}
		found = append(found, rendered...)
	}
	return found, faults, nil
}

// Render returns the objects of an environment.
func Render(ctx context.Context, root, kubernetes, environment string) (objects []kube.Object, err error) {
	t, err := readTree(root)
	if err != nil {
		return nil, err
	}
	manifests, faults, err := t.render(ctx, kubernetes, environment)
	if err == nil && len(faults) > 0 {
		err = fmt.Errorf("%s: %s", faults[0].File, faults[0].Problem)
	}
	for _, m := range manifests {
		objects = append(objects, m.Object)
	}
	return objects, err
}

// kustomize renders a folder. It does so from a folder around it, which has kustomize say
// of each object where it is written.
func (t *tree) kustomize(ctx context.Context, kubernetes, folder string) ([]manifest, error) {
	around, err := os.MkdirTemp(filepath.Join(t.root, ".local"), "deploy-check-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(around) //nolint:errcheck // a temporary folder
	target, err := filepath.Rel(around, filepath.Join(t.root, folder))
	if err != nil {
		return nil, err
	}
	text := fmt.Appendf(nil, "resources: [%q]\nbuildMetadata: [originAnnotations]\n", target)
	if err := os.WriteFile(filepath.Join(around, kustomization), text, 0o644); err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, kubernetes, "kubectl", "kustomize", around).Output()
	if err != nil {
		return nil, err
	}
	objects, err := kube.Decode(out)
	if err != nil {
		return nil, err
	}
	found := make([]manifest, len(objects))
	for i, o := range objects {
		found[i] = manifest{o, takeOrigin(o, folder)}
	}
	return found, nil
}

// takeOrigin removes kustomize's annotation from an object and returns the file it names.
func takeOrigin(o kube.Object, folder string) string {
	annotations := o.Map("metadata", "annotations")
	var said struct {
		Path         string `yaml:"path"`
		ConfiguredIn string `yaml:"configuredIn"`
	}
	err := yaml.Unmarshal([]byte(annotations.Text(origin)), &said)
	delete(annotations, origin)
	if len(annotations) == 0 {
		delete(o.Map("metadata"), "annotations")
	}
	path := said.Path + said.ConfiguredIn
	if i := strings.Index(path, "deploy/"); err == nil && i >= 0 {
		return path[i:]
	}
	return filepath.Join(folder, kustomization)
}
