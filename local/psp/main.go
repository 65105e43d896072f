// Command psp stands in for the payment provider: a third party with a server,
// a ledger and a temper of its own. API.md describes it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"quadrille.internal/local/psp/ledger"
)

// shutdownTimeout bounds how long requests in flight may still be answered.
const shutdownTimeout = 8 * time.Second

type config struct {
	addr        string
	stateFile   string
	keyFile     string
	slow        time.Duration // what tok_slow and mode "slow" wait
	allowRemote bool
}

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cfg, err := parseFlags(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(ctx, cfg, log, func(addr net.Addr) { log.Info("listening", "addr", addr.String()) })
	}
	if err != nil {
		log.Error("payment provider failed", "err", err)
		os.Exit(1)
	}
}

func parseFlags(args []string) (config, error) {
	var cfg config
	flags := flag.NewFlagSet("psp", flag.ContinueOnError)
	flags.StringVar(&cfg.addr, "addr", "127.0.0.1:18900", "host:port to listen on")
	flags.StringVar(&cfg.stateFile, "state", "", "state file, created when missing (required)")
	flags.StringVar(&cfg.keyFile, "key-file", "", "file with the API key callers must present (required)")
	flags.DurationVar(&cfg.slow, "slow", 3*time.Second, "how long tok_slow and mode slow wait")
	flags.BoolVar(&cfg.allowRemote, "allow-remote", false, "allow an address other machines can reach")
	if err := flags.Parse(args); err != nil {
		return config{}, err
	}
	return cfg, cfg.check()
}

// check names every fault at once.
func (c config) check() error {
	var faults []error
	if c.stateFile == "" {
		faults = append(faults, errors.New("-state is required"))
	}
	if c.keyFile == "" {
		faults = append(faults, errors.New("-key-file is required"))
	}
	if c.slow < 0 || c.slow > time.Minute {
		faults = append(faults, fmt.Errorf("-slow %s is not between 0 and 1m", c.slow))
	}
	if host, _, err := net.SplitHostPort(c.addr); err != nil {
		faults = append(faults, fmt.Errorf("-addr: %w", err))
	} else if !c.allowRemote && !loopback(host) {
		faults = append(faults, fmt.Errorf("-addr %s is reachable from other machines: use 127.0.0.1, or add -allow-remote", c.addr))
	}
	return errors.Join(faults...)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// run serves until ctx ends, then answers what is in flight and returns nil.
// It calls listening once requests are accepted.
func run(ctx context.Context, cfg config, log *slog.Logger, listening func(net.Addr)) (err error) {
	key, err := readKey(cfg.keyFile)
	if err != nil {
		return err
	}
	book, err := ledger.Open(cfg.stateFile, time.Now, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, book.Close()) }()
	listener, err := net.Listen("tcp", cfg.addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}

	psp := newServer(book, key, cfg.slow, log)
	server := &http.Server{
		Handler:           psp.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10*time.Second + 2*cfg.slow, // mode slow and tok_slow add up
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	listening(listener.Addr())

	select {
	case <-ctx.Done():
	case <-book.Failed():
		err = errors.New("state file can no longer be written")
	case err = <-served:
		err = fmt.Errorf("serve: %w", err)
	}
	psp.hurry()
	return errors.Join(err, shutdown(ctx, server))
}

func shutdown(ctx context.Context, server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return fmt.Errorf("shut down: %w", errors.Join(err, server.Close()))
	}
	return nil
}

func readKey(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read -key-file: %w", err)
	}
	key := strings.TrimSpace(string(raw))
	if key == "" {
		return "", fmt.Errorf("-key-file %s is empty", path)
	}
	return key, nil
}
