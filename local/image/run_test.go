package image

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"quadrille.internal/local/port"
)

// serves runs the program of an image as its user in a root file system that has nothing but
// the image, and of which it may write nothing.
func serves(t *testing.T, m Image) {
	root := filepath.Join(t.TempDir(), "root")
	files := mutate.Extract(open(t, m.Archive))
	defer files.Close()
	unpack(t, files, root)
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 2 {
		t.Errorf("the root has %v (%v), want etc and the program", entries, err)
	}
	if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM(read(t, filepath.Join(root, rootsPath))) {
		t.Error("the certificates cannot be read")
	}
	if os.Getuid() != 0 {
		t.Skip("only root may change the root of a process: the program was not run")
	}

	kept, err := port.Keep()
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Release() //nolint:errcheck // the process ends
	health := kept.Addr
	var log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "/"+example)
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: User, Gid: User, NoSetGroups: true}}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Env = []string{
		"QUADRILLE_INSECURE=no-tokens", "QUADRILLE_ADMIN_TOKEN=0123456789abcdef0123456789abcdef",
		"QUADRILLE_HEALTH_ADDR=" + health, "QUADRILLE_HTTP_ADDR=127.0.0.1:0", "QUADRILLE_GRPC_ADDR=127.0.0.1:0", "QUADRILLE_ADMIN_ADDR=127.0.0.1:0",
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err := awaitHealth(t.Context(), "http://"+health+"/healthz", ended); err != nil {
		t.Fatalf("%v; it says:\n%s", err, log.String())
	}
	if status := read(t, fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)); !strings.Contains(string(status), fmt.Sprintf("Uid:\t%d", User)) {
		t.Errorf("it does not run as %d", User)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("after SIGTERM: %v; it says:\n%s", err, log.String())
	}
}

// awaitHealth waits until a program answers, or has ended.
func awaitHealth(ctx context.Context, url string, ended chan error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(res.Status)
		}
		select {
		case end := <-ended:
			return fmt.Errorf("it ended: %w", end)
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
