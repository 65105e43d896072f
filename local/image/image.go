// Package image makes container images of the services without Docker: a static program, the
// root certificates and a user on nothing else, as OCI archives, with a bill of materials
// beside each. The same sources and the same Go make the same digest.
package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"quadrille.internal/local/gobuild"
)

// MaxBytes is what the compressed layers of an image may take together: what a node fetches.
const MaxBytes = 25 << 20

// ErrUnknownService says that there is no such service.
var ErrUnknownService = errors.New("there is no such service")

// Options say which images are made. The zero value of each field is the default.
type Options struct {
	Root     string   // the repository
	Dir      string   // where the images go; default: Root/.local/images
	Services []string // default: all
	Arch     string   // as GOARCH; default: this machine's
	Push     string   // a registry, with the path below which the images go
}

// An Image is one that was made.
type Image struct {
	Service string `json:"service"`
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest"` // of the manifest: what name@digest pulls
	Bytes   int64  `json:"bytes"`  // of the compressed layers
	Archive string `json:"archive"`
	SBOM    string `json:"sbom"`
	Pushed  string `json:"pushed,omitempty"` // the reference in the registry

	image v1.Image
}

// Build makes images one after the other and tells of each.
func Build(ctx context.Context, o Options, made func(Image)) error {
	o.Dir = cmp.Or(o.Dir, filepath.Join(o.Root, ".local", "images"))
	o.Arch = cmp.Or(o.Arch, runtime.GOARCH)
	programs, err := choose(o)
	if err != nil {
		return err
	}
	from, err := sourceOf(ctx, o.Root)
	if err != nil {
		return err
	}
	base, err := baseLayer()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(o.Dir, "bin"), 0o755); err != nil {
		return err
	}
	for _, dir := range programs {
		image, err := build(ctx, o, dir, from, base)
		if err == nil && o.Push != "" {
			image.Pushed, err = push(ctx, image, o.Push)
		}
		if err != nil {
			return fmt.Errorf("image of %s: %w", filepath.Base(dir), err)
		}
		made(image)
	}
	return nil
}

// choose returns the folders of the services' programs.
func choose(o Options) (chosen []string, err error) {
	all := map[string]string{}
	for _, pattern := range []string{"services/*/cmd/*/main.go", "workflows/*/cmd/*/main.go"} {
		mains, err := filepath.Glob(filepath.Join(o.Root, pattern))
		if err != nil {
			return nil, err
		}
		for _, main := range mains {
			dir := filepath.Dir(main)
			all[filepath.Base(dir)] = dir
		}
	}
	names := slices.Clone(o.Services)
	if len(names) == 0 {
		for name := range all {
			names = append(names, name)
		}
		slices.Sort(names)
	}
	for _, name := range names {
		dir, found := all[name]
		if !found {
			return nil, fmt.Errorf("%w: %q", ErrUnknownService, name)
		}
		chosen = append(chosen, dir)
	}
	return chosen, nil
}

func build(ctx context.Context, o Options, dir string, from source, base v1.Layer) (Image, error) {
	service := filepath.Base(dir)
	m := Image{Service: service, Name: "quadrille-" + service, Version: from.version}
	program := filepath.Join(o.Dir, "bin", service)
	if err := (gobuild.Build{Dir: dir, Output: program, Standalone: true, Arch: o.Arch}).Run(ctx); err != nil {
		return m, err
	}
	var err error
	if m.image, err = assemble(m, program, o.Arch, from, base); err != nil {
		return m, err
	}
	if m.Bytes, err = layerBytes(m.image); err != nil {
		return m, err
	}
	if m.Bytes > MaxBytes {
		return m, fmt.Errorf("its layers have %d bytes compressed, %d are allowed", m.Bytes, MaxBytes)
	}
	digest, err := m.image.Digest()
	if err != nil {
		return m, err
	}
	m.Digest = digest.String()
	m.Archive = filepath.Join(o.Dir, m.Name+".tar")
	if err := writeArchive(m, m.Archive); err != nil {
		return m, err
	}
	m.SBOM = filepath.Join(o.Dir, m.Name+".cdx.json")
	return m, writeSBOM(m, program, from)
}

func layerBytes(image v1.Image) (sum int64, err error) {
	layers, err := image.Layers()
	if err != nil {
		return 0, err
	}
	for _, layer := range layers {
		size, err := layer.Size()
		if err != nil {
			return 0, err
		}
		sum += size
	}
	return sum, nil
}
