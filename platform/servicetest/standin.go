package servicetest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// StandIn takes the place of a third party, as a process of its own.
type StandIn struct{ URL, Key string }

// programs are the stand-ins that were built, by the folder of their source.
var programs struct {
	sync.Mutex
	dir   string
	built map[string]string
}

// StartStandIn builds the program in a folder, once for all tests of a package, and runs it
// until the test ends, with an empty state and these flags beside the usual ones. TestMain
// calls RemoveStandIns.
func StartStandIn(t testing.TB, folder string, flags ...string) StandIn {
	t.Helper()
	program, err := buildStandIn(folder)
	if err != nil {
		t.Fatal(err)
	}
	name, dir, key := filepath.Base(folder), t.TempDir(), "sk_test"
	keyFile := filepath.Join(dir, "key")
	if err := os.WriteFile(keyFile, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, append([]string{"-addr", "127.0.0.1:0", "-state", filepath.Join(dir, "state"), "-key-file", keyFile}, flags...)...)
	logs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr, read := make(chan string, 1), make(chan struct{})
	go func() { defer close(read); readLog(logs, addr) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-read
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	at, ok := <-addr
	if !ok {
		t.Fatalf("the stand-in %s did not start", name)
	}
	return StandIn{"http://" + at, key}
}

// RemoveStandIns removes the programs that StartStandIn built, once all tests have ended.
func RemoveStandIns() {
	programs.Lock()
	defer programs.Unlock()
	if programs.dir != "" {
		_ = os.RemoveAll(programs.dir) // a temporary folder
	}
}

func buildStandIn(folder string) (string, error) {
	programs.Lock()
	defer programs.Unlock()
	if program, ok := programs.built[folder]; ok {
		return program, nil
	}
	if programs.dir == "" {
		dir, err := os.MkdirTemp("", "stand-ins")
		if err != nil {
			return "", err
		}
		programs.dir, programs.built = dir, make(map[string]string)
	}
	program := filepath.Join(programs.dir, filepath.Base(folder))
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = folder
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the stand-in %s: %w\n%s", folder, err, out)
	}
	programs.built[folder] = program
	return program, nil
}

// readLog reads a stand-in's log to its end and sends the address in it.
func readLog(log io.Reader, addr chan<- string) {
	defer close(addr)
	for lines := bufio.NewScanner(log); lines.Scan(); {
		var line struct{ Msg, Addr string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			addr <- line.Addr
		}
	}
}
