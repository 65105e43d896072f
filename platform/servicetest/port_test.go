package servicetest_test

import (
	"net"
	"testing"

	"quadrille.internal/platform/servicetest"
)

// An address is returned once while its test runs, and can be listened on. It is not one
// that a listener without a port may get.
func TestFreeAddr(t *testing.T) {
	given := map[string]bool{}
	for range 500 {
		addr := servicetest.FreeAddr(t)
		if given[addr] {
			t.Fatalf("%s is returned twice", addr)
		}
		given[addr] = true
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = ln.Close()
	}
}
