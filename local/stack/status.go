package stack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A PartStatus says how one part is doing.
type PartStatus struct {
	Part     string
	Address  string
	PID      int   // 0: not running, or External
	External bool  // a server named by the environment
	Fault    error // why it can't work; nil when it is ready, or stopped and could start
}

// Status looks at every part, at all of them at once.
func (s *Stack) Status(ctx context.Context) []PartStatus {
	checks := s.partChecks()
	status := make([]PartStatus, len(checks))
	var group sync.WaitGroup
	for i, check := range checks {
		group.Go(func() { status[i] = s.partStatus(ctx, check) })
	}
	group.Wait()
	return status
}

type partCheck struct {
	part, addr string
	external   bool // run by somebody else
	ready      func(context.Context) error
}

func (s *Stack) partChecks() []partCheck {
	checks := []partCheck{{"postgres", s.postgres.host, s.postgres.external, s.postgresReady}}
	outside := s.Outside()
	if !s.OneProcess() || len(outside) > 0 {
		checks = append(checks, s.brokerChecks()...)
		checks = append(checks,
			partCheck{"sentry", s.addr(sentryPort), false, httpOK("http://" + s.addr(sentryHealthPort) + "/healthz")},
			partCheck{"placement", s.addr(placementPort), false, httpOK("http://" + s.addr(placementHealthPort) + "/healthz")},
			partCheck{"scheduler", s.addr(schedulerPort), false, httpOK("http://" + s.addr(schedulerHealthPort) + "/healthz")})
	}
	if s.ByDebezium() {
		checks = append(checks, s.connectCheck())
	}
	checks = append(checks, []partCheck{
		{"psp", s.addr(pspPort), false, listening(s.addr(pspPort))},
		{"erp", s.addr(erpPort), false, listening(s.addr(erpPort))},
		{"mail", s.addr(mailPort), false, listening(s.addr(mailPort))},
	}...)
	if s.opts.Trace {
		checks = append(checks, partCheck{tracesPart, s.addr(tracesPort), false, listening(s.addr(tracesPort))})
	}
	if len(outside) > 0 {
		bridge := s.bridgeApp()
		checks = append(checks, partCheck{Sidecar(Together), s.addr(bridgeDaprPort), false, httpOK(fmt.Sprintf("http://127.0.0.1:%d/v1.0/healthz/outbound", bridge.DaprHTTP))})
	}
	if s.Replicas() > 1 {
		addr := s.balanced()
		checks = append(checks, partCheck{balancer, addr, false, listening(addr)})
	}
	for _, part := range s.serviceParts() {
		addr := strings.TrimPrefix(s.listens(part), "http://")
		checks = append(checks, partCheck{part, addr, false, func(ctx context.Context) error { return s.ready(ctx, part) }})
	}
	return checks
}

func (s *Stack) partStatus(ctx context.Context, check partCheck) PartStatus {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	status := PartStatus{Part: check.part, Address: check.addr, External: check.external}
	p := s.Process(check.part)
	switch {
	case p != nil:
		status.PID, status.Fault = p.PID, check.ready(ctx)
	case check.external:
		status.Fault = check.ready(ctx)
	default:
		status.Fault = portFree(check.addr)
	}
	return status
}

// ServersFound names the PostgreSQL and the broker that would be used, or what is
// missing; it installs nothing.
func (s *Stack) ServersFound() (postgres, broker string, err error) {
	postgres = "named by QUADRILLE_POSTGRES"
	if !s.postgres.external {
		var found bool
		if postgres, found = lookPostgres(); !found {
			return "", "", &EnvironmentError{Problem: "PostgreSQL is not installed", Remedy: "quad up installs it when run by root on Debian; otherwise install postgresql"}
		}
	}
	broker, err = s.brokerFound()
	return postgres, broker, err
}

// FreeDisk is the space left for the stack's folder, in bytes.
func (s *Stack) FreeDisk() (int64, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(s.Dir, &fs); err != nil {
		return 0, fmt.Errorf("ask for free space in %s: %w", s.Dir, err)
	}
	return int64(fs.Bavail) * fs.Bsize, nil //nolint:gosec // no disk has 2^63 blocks
}

// Unbuilt names the programs of services that are missing.
func (s *Stack) Unbuilt() []string {
	var missing []string
	for _, app := range s.run.Apps {
		program := filepath.Base(app.Command[0])
		if _, err := os.Stat(app.Command[0]); err != nil && !slices.Contains(missing, program) {
			missing = append(missing, program)
		}
	}
	return missing
}
