// Package gobuild is the one way in which Quadrille's programs are built: static, and the
// same to the byte wherever the sources lie.
package gobuild

import (
	"context"
	"fmt"
	"os"
	"os/exec"
)

// Flags are what each go build is called with; deploy/Dockerfile has the same.
var Flags = []string{"-trimpath", "-buildvcs=false"}

// Stripped are the flags of the linker: no symbol tables. What debug/buildinfo reads stays.
const Stripped = "-s -w"

// A Build compiles packages of the module in Dir.
type Build struct {
	Dir      string
	Output   string
	Packages []string // default: the one in Dir
	Ldflags  string   // beside Stripped
	// Standalone builds do not look at go.work, which would decide their versions.
	Standalone bool
	Arch       string // default: this machine's
}

// Run builds, for Linux.
func (b Build) Run(ctx context.Context) error {
	ldflags := Stripped
	if b.Ldflags != "" {
		ldflags += " " + b.Ldflags
	}
	args := append([]string{"build"}, Flags...)
	args = append(args, "-ldflags", ldflags, "-o", b.Output)
	cmd := exec.CommandContext(ctx, "go", append(args, b.Packages...)...)
	cmd.Dir = b.Dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if b.Standalone {
		cmd.Env = append(cmd.Env, "GOWORK=off")
	}
	if b.Arch != "" {
		cmd.Env = append(cmd.Env, "GOARCH="+b.Arch)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build in %s: %w\n%s", b.Dir, err, out)
	}
	return nil
}
