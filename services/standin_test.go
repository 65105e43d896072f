package services_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

var standInDir string

// standIns build the stand-ins for third parties, each once for all tests.
var standIns = map[string]func() (string, error){
	"psp": sync.OnceValues(func() (string, error) { return buildStandIn("psp") }),
	"erp": sync.OnceValues(func() (string, error) { return buildStandIn("erp") }),
}

func buildStandIn(name string) (string, error) {
	if standInDir == "" {
		dir, err := os.MkdirTemp("", "stand-ins")
		if err != nil {
			return "", err
		}
		standInDir = dir
	}
	binary := filepath.Join(standInDir, name)
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = "../local/" + name
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the stand-in %s: %w\n%s", name, err, out)
	}
	return binary, nil
}

type standIn struct{ url, key string }

// startStandIn starts a third party with an empty ledger.
func startStandIn(t *testing.T, name string) standIn {
	t.Helper()
	binary, err := standIns[name]()
	if err != nil {
		t.Fatal(err)
	}
	dir, key := t.TempDir(), "sk_test"
	keyFile := filepath.Join(dir, "key")
	if err := os.WriteFile(keyFile, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-addr", "127.0.0.1:0", "-state", filepath.Join(dir, "ledger"), "-key-file", keyFile)
	logs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr, read := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(read)
		defer close(addr)
		for lines := bufio.NewScanner(logs); lines.Scan(); {
			var line struct{ Msg, Addr string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
				addr <- line.Addr
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-read
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	a, ok := <-addr
	if !ok {
		t.Fatalf("%s did not start", name)
	}
	return standIn{"http://" + a, key}
}
