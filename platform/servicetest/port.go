package servicetest

import (
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// The ports of FreeAddr are below those of local/port, which claims in another way, and of the
// stacks that tests run at the same time, and below those that the kernel gives to outgoing
// connections and to listeners without a port.
const firstPort, lastPort = 11_000, 14_999

// FreeAddr returns an address that nothing listens on, for a process that listens later, or
// again after a stop. Until the test ends no other call returns it, in this process or in
// another one, and the kernel gives it to nobody.
func FreeAddr(t testing.TB) string {
	t.Helper()
	locks := filepath.Join(os.TempDir(), "quadrille-test-ports")
	if err := os.MkdirAll(locks, 0o755); err != nil {
		t.Fatal(err)
	}
	const count = lastPort - firstPort + 1
	first := rand.IntN(count) //nolint:gosec // spreading needs no secrecy
	for i := range count {
		port := strconv.Itoa(firstPort + (first+i)%count)
		lock := reserve(t, filepath.Join(locks, port))
		if lock == nil {
			continue
		}
		addr := net.JoinHostPort("127.0.0.1", port)
		if ln, err := net.Listen("tcp", addr); err == nil {
			_ = ln.Close()
			t.Cleanup(func() { _ = lock.Close() })
			return addr
		}
		_ = lock.Close()
	}
	t.Fatalf("no port from %d to %d is free", firstPort, lastPort)
	return ""
}

// reserve returns the file with a lock that lasts until it is closed, or nil if it is
// locked. A lock ends with its process too.
func reserve(t testing.TB, path string) *os.File {
	t.Helper()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return file
	}
	_ = file.Close()
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Fatalf("lock %s: %v", path, err)
	}
	return nil
}
