package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// writeArchive writes an OCI archive, which docker load, podman load, ctr and skopeo take: an
// OCI layout in a tar file.
func writeArchive(m Image, path string) (err error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), "layout-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	to, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("write an OCI layout: %w", err)
	}
	tag := layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": m.Version, "io.containerd.image.name": m.Name + ":" + m.Version,
	})
	if err := to.AppendImage(m.image, tag); err != nil {
		return fmt.Errorf("write an OCI layout: %w", err)
	}
	fresh := path + ".new"
	if err := pack(dir, fresh); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(fresh, path)
}

// pack writes the files of a folder to a tar file, the same ones always the same way.
func pack(dir, path string) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := tar.NewWriter(file)
	err = filepath.WalkDir(dir, func(path string, found fs.DirEntry, err error) error { // in lexical order
		if err != nil || found.IsDir() {
			return err
		}
		return packFile(w, dir, path)
	})
	return errors.Join(err, w.Close())
}

func packFile(w *tar.Writer, dir, path string) (err error) {
	name, err := filepath.Rel(dir, path)
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	header := tar.Header{Name: filepath.ToSlash(name), Mode: 0o644, Size: info.Size(), Typeflag: tar.TypeReg, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
	if err := w.WriteHeader(&header); err != nil {
		return err
	}
	_, err = io.Copy(w, file)
	return err
}

// push sends an image to a registry, with the credentials of docker login or podman login. A
// registry on this machine may be without TLS.
func push(ctx context.Context, m Image, registry string) (reference string, err error) {
	tag, err := name.NewTag(registry + "/" + m.Name + ":" + m.Version)
	if err != nil {
		return "", fmt.Errorf("name the image: %w", err)
	}
	if err := remote.Write(tag, m.image, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return "", fmt.Errorf("push %s: %w", tag, err)
	}
	return tag.Context().Name() + "@" + m.Digest, nil
}
