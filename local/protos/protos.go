// Package protos checks and compiles the files of events/proto, by which services call one
// another.
package protos

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Folder has the files, relative to the repository.
const Folder = "events/proto"

//go:embed buf.yaml
var config []byte

const template = `{"version": "v2", "plugins": [
	{"local": "protoc-gen-go", "out": "go", "opt": "paths=source_relative"},
	{"local": "protoc-gen-go-grpc", "out": "go", "opt": "paths=source_relative"}]}`

// Tools are the programs of local/toolchain/buf, in a folder.
type Tools string

// Check returns what is wrong with the files of the repository in root: what the linter
// finds, what breaks those of the release before, whose source is in the folder before, and
// code that was not generated from them.
func (t Tools) Check(ctx context.Context, root, before string) (faults []string, err error) {
	err = t.in(ctx, root, func(now string) error {
		return t.in(ctx, before, func(then string) error {
			for _, args := range [][]string{{"lint", "proto"}, {"breaking", "proto", "--against", filepath.Join(then, "proto")}} {
				found, err := t.buf(ctx, now, args...)
				if err != nil {
					return err
				}
				faults = append(faults, found...)
			}
			if len(faults) > 0 {
				return nil // files with faults may not compile
			}
			faults, err = t.stale(ctx, root, now)
			return err
		})
	})
	return faults, err
}

// Generate writes the Go code of the files of the repository in root.
func (t Tools) Generate(ctx context.Context, root string) error {
	return t.in(ctx, root, func(workspace string) error {
		made, err := t.generate(ctx, workspace)
		if err != nil {
			return err
		}
		for name, code := range made {
			if err := os.WriteFile(filepath.Join(root, Folder, name), code, 0o644); err != nil { //nolint:gosec // a source file
				return err
			}
		}
		return nil
	})
}

// stale names the Go files that are not what the files say.
func (t Tools) stale(ctx context.Context, root, workspace string) (faults []string, err error) {
	made, err := t.generate(ctx, workspace)
	if err != nil {
		return nil, err
	}
	for name, code := range made {
		have, err := os.ReadFile(filepath.Join(root, Folder, name)) //nolint:gosec // of the repository
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if !bytes.Equal(have, code) {
			faults = append(faults, fmt.Sprintf("%s/%s is not what its .proto file says: run `quad proto generate`", Folder, name))
		}
	}
	return faults, nil
}

// generate returns the Go files by their names below Folder.
func (t Tools) generate(ctx context.Context, workspace string) (map[string][]byte, error) {
	if faults, err := t.buf(ctx, workspace, "generate", "proto", "--template", template); err != nil || len(faults) > 0 {
		return nil, errors.Join(err, errors.New(strings.Join(faults, "\n")))
	}
	made := make(map[string][]byte)
	return made, files(filepath.Join(workspace, "go"), ".go", func(name string, text []byte) error {
		made[name] = text
		return nil
	})
}

// in calls do with a workspace of buf that holds the files of a source tree.
func (t Tools) in(ctx context.Context, source string, do func(workspace string) error) error {
	workspace, err := os.MkdirTemp("", "protos-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(workspace) //nolint:errcheck // a temporary folder
	if err := os.WriteFile(filepath.Join(workspace, "buf.yaml"), config, 0o600); err != nil {
		return err
	}
	err = files(filepath.Join(source, Folder), ".proto", func(name string, text []byte) error {
		to := filepath.Join(workspace, "proto", name)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		return os.WriteFile(to, text, 0o600)
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", Folder, err)
	}
	rules := exec.CommandContext(ctx, filepath.Join(string(t), "rules"), filepath.Join(workspace, "rules")) //nolint:gosec // ours
	if out, err := rules.CombinedOutput(); err != nil {
		return fmt.Errorf("write the rules' own file: %w\n%s", err, out)
	}
	return do(workspace)
}

// foundFaults is how buf ends where it found some.
const foundFaults = 100

// buf runs buf in a workspace and returns what it found, a line each.
func (t Tools) buf(ctx context.Context, workspace string, args ...string) (faults []string, err error) {
	cmd := exec.CommandContext(ctx, filepath.Join(string(t), "buf"), args...) //nolint:gosec // ours
	cmd.Dir = workspace
	cmd.Env = append(os.Environ(), "BUF_CACHE_DIR="+filepath.Join(workspace, ".cache"), "PATH="+string(t)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if ended, ok := errors.AsType[*exec.ExitError](err); ok && ended.ExitCode() == foundFaults {
		for line := range strings.Lines(string(out)) {
			faults = append(faults, strings.Replace(strings.TrimSpace(line), "proto/", Folder+"/", 1))
		}
		return faults, nil
	}
	if err != nil {
		return nil, fmt.Errorf("buf %s: %w\n%s", args[0], err, out)
	}
	return nil, nil
}

// files calls do with each file below dir whose name ends so, by its name there.
func files(dir, suffix string, do func(name string, text []byte) error) error {
	return fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, suffix) {
			return err
		}
		text, err := fs.ReadFile(os.DirFS(dir), name)
		if err != nil {
			return err
		}
		return do(name, text)
	})
}
