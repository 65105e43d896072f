package stack

import (
	"context"
	"maps"
	"os"
	"path/filepath"
)

// tracesPart is the collector of traces: quad itself, which keeps the newest of them below
// the stack's folder.
const tracesPart = "traces"

// exportTraces has the services send their spans, if the stack is to keep them: until it is
// stopped, also where the collector was killed meanwhile.
func (s *Stack) exportTraces() {
	_, err := os.Stat(s.pidFile(tracesPart))
	if s.opts.Trace = s.opts.Trace || err == nil; !s.opts.Trace {
		return
	}
	env := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": s.TracesURL(), "OTEL_BSP_SCHEDULE_DELAY": "200"}
	maps.Copy(env, s.opts.Env)
	s.opts.Env = env
}

// TracesURL is where the collector of traces is.
func (s *Stack) TracesURL() string { return "http://" + s.addr(tracesPort) }

func (s *Stack) startTraces(ctx context.Context) error {
	addr := s.addr(tracesPort)
	if !s.opts.Trace || s.alreadyRunning(tracesPart, addr) {
		return nil
	}
	return s.start(ctx, command{
		name: tracesPart, args: []string{s.bin("quad"), "traces", "--addr", addr, "--keep", filepath.Join(s.Dir, "traces")}, dir: s.Dir,
	}, addr, listening(addr))
}
