package stack

import (
	"os"
	"testing"
)

// A collector that was killed is started again by quad up without --trace, since services
// that run go on to send spans.
func TestAStackKeepsTracesUntilItIsStopped(t *testing.T) {
	dir := t.TempDir()
	traced := func(trace bool) (*Stack, bool) {
		t.Helper()
		s, err := New(Options{Dir: dir, PortShift: testShift, Trace: trace})
		if err != nil {
			t.Fatal(err)
		}
		return s, s.App("order").Env["OTEL_EXPORTER_OTLP_ENDPOINT"] != ""
	}
	if _, on := traced(false); on {
		t.Fatal("it keeps traces that nobody asked for")
	}
	s, _ := traced(true)
	killed := &Process{Name: tracesPart, PID: os.Getpid(), start: 1} // another process had the number
	if err := s.writePID(killed); err != nil {
		t.Fatal(err)
	}
	if _, on := traced(false); !on {
		t.Error("the collector was killed, and its traces are forgotten")
	}
	if err := s.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, on := traced(false); on {
		t.Error("stopped, it still keeps traces")
	}
}
