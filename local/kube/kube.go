// Package kube runs a Kubernetes API server without a cluster: etcd, kube-apiserver and
// what a test needs beside them, on loopback ports of their own and with nothing in them.
// Nothing runs in it: there are no nodes.
package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"quadrille.internal/local/port"
)

// Config says what to start.
type Config struct {
	Binary string // local/toolchain/kubernetes
	Dir    string // for data, logs and keys; the caller removes it
}

// A Server is a running API server. Stop ends it and all that was started by Run.
type Server struct {
	*Client

	cfg       Config
	processes []*process // in the order of their start
	ports     []port.Kept
}

const (
	readyTimeout = 3 * time.Minute // seconds, unless the machine also runs tests and compilers
	stopGrace    = time.Minute
)

// Start starts etcd and an API server and waits until it is ready.
func Start(ctx context.Context, cfg Config) (s *Server, err error) {
	s = &Server{cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	var ports [3]string
	for i := range ports {
		if ports[i], err = s.KeepPort(); err != nil {
			return s, err
		}
	}
	client, peer := "http://"+ports[0], "http://"+ports[1]
	keys, err := makeKeys(cfg.Dir)
	if err != nil {
		return s, fmt.Errorf("make the keys of the API server: %w", err)
	}
	if err := s.Run("etcd", []string{cfg.Binary, "etcd",
		"--data-dir=" + filepath.Join(cfg.Dir, "etcd"), "--log-level=warn",
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=default=" + peer,
		"--unsafe-no-fsync", // nothing here outlives the process
	}); err != nil {
		return s, err
	}
	_, secure, err := net.SplitHostPort(ports[2])
	if err != nil {
		return s, err
	}
	if err := s.Run("kube-apiserver", []string{cfg.Binary, "kube-apiserver",
		"--etcd-servers=" + client, "--bind-address=127.0.0.1", "--secure-port=" + secure,
		"--tls-cert-file=" + keys.cert, "--tls-private-key-file=" + keys.key,
		"--service-account-key-file=" + keys.key, "--service-account-signing-key-file=" + keys.key,
		"--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.96.0.0/16",
		"--token-auth-file=" + keys.tokens, "--authorization-mode=RBAC",
	}); err != nil {
		return s, err
	}
	s.Client = &Client{address: "https://" + ports[2], token: keys.token, http: &http.Client{
		Transport: &http.Transport{TLSClientConfig: keys.trust, MaxIdleConnsPerHost: 8},
		Timeout:   requestTimeout,
	}}
	return s, s.awaitReady(ctx)
}

// KeepPort returns an address of this machine that is kept free for a program until the server
// is stopped.
func (s *Server) KeepPort() (addr string, err error) {
	kept, err := port.Keep()
	if err != nil {
		return "", err
	}
	s.ports = append(s.ports, kept)
	return kept.Addr, nil
}

// awaitReady waits until the API server says that it is ready, or one of its processes
// has ended.
func (s *Server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.ready(ctx)
		if err == nil {
			return nil
		}
		for _, p := range s.processes {
			if p.ended() {
				return fmt.Errorf("%s ended: %s\n%s", p.name, p.cmd.ProcessState, p.tail())
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server is not ready after %s: %w\n%s", readyTimeout, err, s.processes[len(s.processes)-1].tail())
		case <-tick.C:
		}
	}
}

// Kubeconfig writes a file by which Kubernetes' own programs find the server.
func (s *Server) Kubeconfig() (path string, err error) {
	path = filepath.Join(s.cfg.Dir, "kubeconfig")
	return path, os.WriteFile(path, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: u, user: {token: %q}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
`, s.address, filepath.Join(s.cfg.Dir, "cert.pem"), s.token), 0o600)
}

// Run starts a process that ends with the server.
func (s *Server) Run(name string, args []string) error {
	p, err := start(name, filepath.Join(s.cfg.Dir, name+".log"), args)
	if err != nil {
		return err
	}
	s.processes = append(s.processes, p)
	return nil
}

// Log is what a process wrote last.
func (s *Server) Log(name string) string {
	for _, p := range s.processes {
		if p.name == name {
			return p.tail()
		}
	}
	return ""
}

// Stop ends everything, the last one first.
func (s *Server) Stop() error {
	var faults []error
	for i := len(s.processes) - 1; i >= 0; i-- {
		faults = append(faults, s.processes[i].stop())
	}
	s.processes = nil
	for _, p := range s.ports {
		faults = append(faults, p.Release())
	}
	s.ports = nil
	if s.Client != nil {
		s.http.CloseIdleConnections()
	}
	return errors.Join(faults...)
}

// A process is one that ends with this one, even when this one is killed.
type process struct {
	name, log string
	cmd       *exec.Cmd
	done      chan struct{}
}

func start(name, log string, args []string) (*process, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	p := &process{name: name, log: log, cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The signal comes when the thread ends that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer out.Close()
		defer close(p.done)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // ProcessState tells
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) stop() error {
	if p.ended() {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended just now
	timer := time.NewTimer(stopGrace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not end within %s and was killed", p.name, stopGrace)
	}
}

func (p *process) tail() string {
	const most = 4096
	text, err := os.ReadFile(p.log)
	if err != nil {
		return ""
	}
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return string(bytes.TrimSpace(text))
}
