package main

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

// The manifests of Kubernetes are whole files, one a kind, from templates of the same names.
//
//go:embed templates
var templates embed.FS

const (
	servicesFolder = "deploy/services"
	platformFolder = "deploy/platform"
	madeBy         = "# Made by `quad generate` from the declarations of the services; do not edit.\n"
)

// environments have an overlay for each service, and a folder below deploy/environments.
var environments = []string{"dev", "staging", "production"}

// deploy makes the manifests. made are the files with generated blocks, among them the
// components that those of Kubernetes are made from.
func (c *catalog) deploy(root string, made []file) ([]file, error) {
	wanted := make(map[string]string)
	for _, s := range c.specs {
		if err := c.unit(s).manifests(wanted); err != nil {
			return nil, fmt.Errorf("manifests of %s: %w", s.Name, err)
		}
	}
	if err := c.platform(root, made, wanted); err != nil {
		return nil, err
	}
	files := make([]file, 0, len(wanted))
	for path, want := range wanted {
		have, err := os.ReadFile(filepath.Join(root, path))
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		files = append(files, file{path, string(have), want})
	}
	left, err := leftover(root, wanted)
	files = append(files, left...)
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return files, err
}

// leftover are files of services that are no more, or that a release before made. They are to
// be empty, which counts as away.
func leftover(root string, wanted map[string]string) (files []file, err error) {
	err = filepath.WalkDir(filepath.Join(root, servicesFolder), func(at string, entry fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return fs.SkipAll
		}
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, at)
		if err != nil || wanted[filepath.ToSlash(name)] != "" {
			return err
		}
		text, err := os.ReadFile(at)
		files = append(files, file{filepath.ToSlash(name), string(text), ""})
		return err
	})
	return files, err
}

// manifests adds those of a service.
func (u unit) manifests(to map[string]string) error {
	at := path.Join(servicesFolder, u.Name)
	names := []string{
		"kustomization.yaml", "serviceaccount.yaml", "secrets.yaml", u.Workload + ".yaml", "service.yaml",
		"scaling.yaml", "disruption.yaml", "network.yaml",
	}
	if u.Database {
		names = append(names, "migration.yaml")
	}
	if u.Canary {
		names = append(names, "names.yaml")
	}
	if u.Front {
		names = append(names, "ingress.yaml")
	}
	for _, name := range names {
		text, err := render("service", name, u)
		if err != nil {
			return err
		}
		to[path.Join(at, "base", name)] = text
	}
	for _, environment := range environments {
		u.Environment = environment
		text, err := render("service", "overlay.yaml", u)
		if err != nil {
			return err
		}
		to[path.Join(at, "overlays", u.Environment, "kustomization.yaml")] = text
	}
	return nil
}

// render fills a template of a folder, whose others it may use.
func render(folder, name string, data any) (string, error) {
	t, err := template.New("").Funcs(template.FuncMap{"join": strings.Join}).Option("missingkey=error").
		ParseFS(templates, "templates/"+folder+"/*")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if err := t.ExecuteTemplate(&b, name, data); err != nil {
		return "", err
	}
	return madeBy + strings.TrimLeft(b.String(), "\n"), nil
}
