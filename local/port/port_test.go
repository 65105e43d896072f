package port

import (
	"net"
	"testing"
)

// Two that ask at the same time do not get the same port, also before anybody listens there.
func TestAPortIsKeptForOne(t *testing.T) {
	seen := map[string]bool{}
	for range 10 {
		kept, err := Keep()
		if err != nil {
			t.Fatal(err)
		}
		defer kept.Release() //nolint:errcheck // the process ends
		if seen[kept.Addr] {
			t.Errorf("%s was given twice", kept.Addr)
		}
		seen[kept.Addr] = true
		ln, err := net.Listen("tcp", kept.Addr)
		if err != nil {
			t.Fatalf("whom it is kept for cannot listen: %v", err)
		}
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAPortOfAnotherProgramIsPassedOver(t *testing.T) {
	kept, err := Keep()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", kept.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := kept.Release(); err != nil {
		t.Fatal(err)
	}
	other, err := Keep()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Release() //nolint:errcheck // the process ends
	if other.Addr == kept.Addr {
		t.Errorf("%s is given, and another program listens there", other.Addr)
	}
}
