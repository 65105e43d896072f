package stack

import (
	"context"
	"net"
	"path/filepath"
)

// startPlacement and startScheduler run Dapr's control plane, which actors and
// workflows need.
func (s *Stack) startPlacement(ctx context.Context) error {
	if s.alreadyRunning("placement", s.addr(placementPort)) {
		return nil
	}
	args := append([]string{s.daprBin("placement")},
		s.controlFlags(placementPort, placementHealthPort, placementMetricsPort)...)
	args = append(args, "--initial-cluster", "dapr-placement-0="+s.addr(placementRaftPort))
	return s.start(ctx, command{name: "placement", args: args, dir: s.Dir},
		s.addr(placementPort), httpOK("http://"+s.addr(placementHealthPort)+"/healthz"))
}

func (s *Stack) startScheduler(ctx context.Context) error {
	if s.alreadyRunning("scheduler", s.addr(schedulerPort)) {
		return nil
	}
	args := append([]string{s.daprBin("scheduler")},
		s.controlFlags(schedulerPort, schedulerHealthPort, schedulerMetricsPort)...)
	args = append(args,
		"--override-broadcast-host-port", s.addr(schedulerPort),
		"--etcd-data-dir", filepath.Join(s.Dir, "scheduler"),
		"--etcd-client-port", s.port(etcdClientPort),
		"--etcd-client-listen-address", "127.0.0.1",
		"--etcd-initial-cluster", "dapr-scheduler-server-0=https://"+s.addr(etcdPeerPort),
		"--identity-directory-write", filepath.Join(s.Dir, "run", "scheduler-identity"),
	)
	return s.start(ctx, command{name: "scheduler", args: args, dir: s.Dir},
		s.addr(schedulerPort), httpOK("http://"+s.addr(schedulerHealthPort)+"/healthz"))
}

// controlFlags keep a control plane service on the loopback interface, except for
// its health port: Dapr 1.18 takes that address and ignores it.
func (s *Stack) controlFlags(port, health, metrics int) []string {
	return []string{
		"--listen-address", "127.0.0.1", "--port", s.port(port),
		"--healthz-listen-address", "127.0.0.1", "--healthz-port", s.port(health),
		"--metrics-listen-address", "127.0.0.1", "--metrics-port", s.port(metrics),
		"--tls-enabled", "--sentry-address", s.addr(sentryPort), "--trust-anchors-file", s.trustAnchors(),
		"--log-level", "warn",
	}
}

// startPSP, startERP and startMail run the stand-ins for third parties, which keep their own
// books.
func (s *Stack) startPSP(ctx context.Context) error { return s.startStandIn(ctx, "psp", pspPort) }

func (s *Stack) startERP(ctx context.Context) error { return s.startStandIn(ctx, "erp", erpPort) }

func (s *Stack) startMail(ctx context.Context) error {
	return s.startStandIn(ctx, "mail", mailPort, "-smtp", s.addr(smtpPort))
}

func (s *Stack) startStandIn(ctx context.Context, name string, port int, flags ...string) error {
	addr := s.addr(port)
	if s.alreadyRunning(name, addr) {
		return nil
	}
	return s.start(ctx, command{
		name: name,
		args: append([]string{
			s.bin(name), "-addr", addr, "-state", filepath.Join(s.Dir, name+".json"), "-key-file", s.secretFile(name + ".key"),
		}, flags...),
		dir: s.Dir,
	}, addr, listening(addr))
}

func listening(addr string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}
