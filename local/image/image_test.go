package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// One service stands for all: they differ in the program only.
const example = "gateway"

func TestImage(t *testing.T) {
	host := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer host.Close()
	to := strings.TrimPrefix(host.URL, "http://") + "/shop"
	first := make1(t, Options{Root: clone(t), Push: to})

	t.Run("of the same commit elsewhere has the same digest", func(t *testing.T) {
		other := make1(t, Options{Root: clone(t)})
		if other.Digest != first.Digest {
			t.Errorf("digests %s and %s", first.Digest, other.Digest)
		}
		for _, file := range []string{"Archive", "SBOM"} {
			paths := map[string][2]string{"Archive": {first.Archive, other.Archive}, "SBOM": {first.SBOM, other.SBOM}}[file]
			if !bytes.Equal(read(t, paths[0]), read(t, paths[1])) {
				t.Errorf("%s differs", file)
			}
		}
	})
	t.Run("is small and says where it is from", func(t *testing.T) { described(t, first) })
	t.Run("has a bill of materials", func(t *testing.T) { billed(t, first) })
	t.Run("serves without anything else", func(t *testing.T) { serves(t, first) })
	t.Run("is in the registry", func(t *testing.T) {
		reference, err := name.ParseReference(first.Pushed)
		if err != nil {
			t.Fatal(err)
		}
		found, err := remote.Get(reference)
		if err != nil || found.Digest.String() != first.Digest {
			t.Errorf("%s is %v (%v)", first.Pushed, found, err)
		}
	})
}

func TestUnknownService(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	err = Build(t.Context(), Options{Root: root, Services: []string{"gatewya"}}, nil)
	if !errors.Is(err, ErrUnknownService) {
		t.Errorf("%v, want that there is no such service", err)
	}
}

// clone returns a folder with the sources of the commit, which git can be asked about.
func clone(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sources")
	if out, err := exec.CommandContext(t.Context(), "git", "clone", "--quiet", "--shared", "../..", dir).CombinedOutput(); err != nil {
		t.Fatalf("git clone: %v\n%s", err, out)
	}
	return dir
}

func make1(t *testing.T, o Options) (made Image) {
	t.Helper()
	o.Services = []string{example}
	if err := Build(t.Context(), o, func(m Image) { made = m }); err != nil {
		t.Fatal(err)
	}
	return made
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// open reads an archive as those who load it do.
func open(t *testing.T, archive string) v1.Image {
	t.Helper()
	dir := t.TempDir()
	unpack(t, bytes.NewReader(read(t, archive)), dir)
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("the archive has %+v (%v), want one image", manifest, err)
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func unpack(t *testing.T, packed io.Reader, dir string) {
	t.Helper()
	for r := tar.NewReader(packed); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, header.Name) //nolint:gosec // we made it
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else {
			var text []byte
			if text, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, text, os.FileMode(header.Mode)) //nolint:gosec // a mode
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func described(t *testing.T, m Image) {
	image := open(t, m.Archive)
	digest, err := image.Digest()
	if err != nil || digest.String() != m.Digest {
		t.Errorf("the archive has %s (%v), want %s", digest, err, m.Digest)
	}
	if size, err := layerBytes(image); err != nil || size != m.Bytes || size > MaxBytes || size < 1<<20 {
		t.Errorf("its layers have %d bytes (%v), said to be %d; at most %d", size, err, m.Bytes, MaxBytes)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || strings.Join(config.Config.Entrypoint, " ") != "/"+example {
		t.Errorf("runs %q as %q", config.Config.Entrypoint, config.Config.User)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	head, err := exec.CommandContext(context.WithoutCancel(t.Context()), "git", "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, labels := range []map[string]string{manifest.Annotations, config.Config.Labels} {
		if got := labels["org.opencontainers.image.revision"]; got != strings.TrimSpace(string(head)) {
			t.Errorf("revision %q, want %s", got, head)
		}
		if labels["org.opencontainers.image.version"] == "" || labels["org.opencontainers.image.version"] != m.Version {
			t.Errorf("version %q, want %q", labels["org.opencontainers.image.version"], m.Version)
		}
	}
}

func billed(t *testing.T, m Image) {
	var bill cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(bytes.NewReader(read(t, m.SBOM)), cyclonedx.BOMFileFormatJSON).Decode(&bill); err != nil {
		t.Fatal(err)
	}
	if got := "sha256:" + (*bill.Metadata.Component.Hashes)[0].Value; got != m.Digest {
		t.Errorf("it is of %s, want %s", got, m.Digest)
	}
	found := map[string]string{}
	for _, c := range *bill.Components {
		found[c.Name] = c.Version
		if c.Type == cyclonedx.ComponentTypeLibrary && (c.Version == "" || c.Version == "(devel)" || !strings.HasPrefix(c.PackageURL, "pkg:golang/"+c.Name+"@")) {
			t.Errorf("%s has version %q and package URL %q", c.Name, c.Version, c.PackageURL)
		}
	}
	required := string(read(t, filepath.Join("..", "..", "services", example, "go.mod")))
	for _, module := range []string{"google.golang.org/grpc", "github.com/go-chi/cors"} {
		if !strings.Contains(required, module+" "+found[module]+"\n") && !strings.Contains(required, module+" "+found[module]+" ") {
			t.Errorf("%s is %q, not as go.mod has it", module, found[module])
		}
	}
	for _, module := range []string{"std", ours + "platform"} {
		if found[module] == "" {
			t.Errorf("%s is missing", module)
		}
	}
}
