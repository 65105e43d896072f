package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// User is who the program runs as: nobody who owns a file. It is a number, so that
// Kubernetes can check runAsNonRoot.
const User = 65532

// Where the base has what programs look for.
const (
	rootsPath  = "etc/ssl/certs/ca-certificates.crt"
	passwdPath = "etc/passwd"
	groupPath  = "etc/group"
)

// entry is a file or a folder of a layer. All belong to root and have no time, so a layer
// has the same digest whenever it is made.
type entry struct {
	name string
	mode int64
	text []byte // nil of a folder
}

// baseLayer is what all images share.
func baseLayer() (v1.Layer, error) {
	return layerOf([]entry{
		{name: "etc/", mode: 0o755}, {name: "etc/ssl/", mode: 0o755}, {name: "etc/ssl/certs/", mode: 0o755},
		{passwdPath, 0o644, fmt.Appendf(nil, "nonroot:x:%d:%d:nonroot:/:/sbin/nologin\n", User, User)},
		{groupPath, 0o644, fmt.Appendf(nil, "nonroot:x:%d:\n", User)},
		{rootsPath, 0o644, roots()},
	})
}

// roots are the certificate authorities that Mozilla trusts, of the version that go.mod names
// and not of the machine that builds. A file cannot say that an authority is trusted up to
// a date only, so those that are on their way out are left out.
func roots() []byte {
	var text bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a Buffer takes all
		}
	}
	return text.Bytes()
}

func layerOf(entries []entry) (v1.Layer, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, e := range entries {
		header := tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.text)), Typeflag: tar.TypeReg, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if e.text == nil {
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.text); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer),
		tarball.WithCompressionLevel(gzip.BestCompression), tarball.WithCompressedCaching)
}

// assemble puts a program on the base.
func assemble(m Image, program, arch string, from source, base v1.Layer) (v1.Image, error) {
	text, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	own, err := layerOf([]entry{{m.Service, 0o755, text}})
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.Append(image,
		mutate.Addendum{Layer: base, History: v1.History{Created: v1.Time{Time: from.time}, CreatedBy: "quad images: certificates, user"}},
		mutate.Addendum{Layer: own, History: v1.History{Created: v1.Time{Time: from.time}, CreatedBy: "quad images: " + m.Service}})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", arch, v1.Time{Time: from.time}
	config.Config = v1.Config{
		Entrypoint: []string{"/" + m.Service}, User: fmt.Sprintf("%d:%d", User, User), WorkingDir: "/", Labels: from.labels(m),
		ExposedPorts: map[string]struct{}{"8080/tcp": {}, "8081/tcp": {}, "8082/tcp": {}, "8083/tcp": {}},
	}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return nil, err
	}
	annotated, ok := mutate.Annotations(image, from.labels(m)).(v1.Image)
	if !ok {
		return nil, fmt.Errorf("annotate %s: it is no image any more", m.Name)
	}
	return annotated, nil
}
