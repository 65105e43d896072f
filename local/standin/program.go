// Package standin is what the stand-ins for third parties have in common: a
// server with a key, durable books and faults that can be switched on. A
// stand-in adds its calls and what its books mean.
package standin

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
)

// shutdownTimeout bounds how long requests in flight may still be answered.
const shutdownTimeout = 8 * time.Second

// Program is one stand-in: all in which it differs from the others.
type Program struct {
	Name string // of the binary
	Addr string // where it listens unless told otherwise

	// Flags adds flags of its own; nil adds none.
	Flags func(*flag.FlagSet)

	// Open opens the books in the state file and routes the calls to them.
	Open func(s *Server, stateFile string) (Books, error)

	Modes    []Mode // what POST /admin/mode can switch to, ok first
	Partial  bool   // whether a mode can be for some calls only: "ratio" and "count"
	Internal *Error // the answer to faults of our own, deliberate ones too
	Down     *Error // the answer while mode "down"
	Limited  *Error // the answer while mode "limited"
}

// Books are what a stand-in remembers.
type Books interface {
	// Failed is closed when nothing can be recorded any more.
	Failed() <-chan struct{}
	Close() error
}

// Config is what the command line says.
type Config struct {
	Addr        string
	StateFile   string
	KeyFile     string
	Slow        time.Duration // what every deliberate wait takes
	AllowRemote bool
}

// Main runs the program as a command, until SIGINT or SIGTERM.
func (p Program) Main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cfg, err := p.ParseFlags(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = p.Run(ctx, cfg, log, func(addr net.Addr) { log.Info("listening", "addr", addr.String()) })
	}
	if err != nil {
		log.Error("stand-in failed", "program", p.Name, "err", err)
		os.Exit(1)
	}
}

// ParseFlags reads the command line and names every fault in it at once.
func (p Program) ParseFlags(args []string) (Config, error) {
	var cfg Config
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	flags.StringVar(&cfg.Addr, "addr", p.Addr, "host:port to listen on")
	flags.StringVar(&cfg.StateFile, "state", "", "state file, created when missing (required)")
	flags.StringVar(&cfg.KeyFile, "key-file", "", "file with the API key callers must present (required)")
	flags.DurationVar(&cfg.Slow, "slow", 3*time.Second, "how long every deliberate wait takes")
	flags.BoolVar(&cfg.AllowRemote, "allow-remote", false, "allow an address other machines can reach")
	if p.Flags != nil {
		p.Flags(flags)
	}
	if err := flags.Parse(args); err != nil {
		return Config{}, err
	}
	return cfg, cfg.check()
}

func (c Config) check() error {
	var faults []error
	if c.StateFile == "" {
		faults = append(faults, errors.New("-state is required"))
	}
	if c.KeyFile == "" {
		faults = append(faults, errors.New("-key-file is required"))
	}
	if c.Slow < 0 || c.Slow > time.Minute {
		faults = append(faults, fmt.Errorf("-slow %s is not between 0 and 1m", c.Slow))
	}
	if host, _, err := net.SplitHostPort(c.Addr); err != nil {
		faults = append(faults, fmt.Errorf("-addr: %w", err))
	} else if !c.AllowRemote && !loopback(host) {
		faults = append(faults, fmt.Errorf("-addr %s is reachable from other machines: use 127.0.0.1, or add -allow-remote", c.Addr))
	}
	return errors.Join(faults...)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Run serves until ctx ends, then answers what is in flight and returns nil.
// It calls listening once requests are accepted.
func (p Program) Run(ctx context.Context, cfg Config, log *slog.Logger, listening func(net.Addr)) (err error) {
	key, err := readKey(cfg.KeyFile)
	if err != nil {
		return err
	}
	s := newServer(p, key, cfg.Slow, log)
	books, err := p.Open(s, cfg.StateFile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, books.Close()) }()
	listener, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}

	server := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10*time.Second + 2*cfg.Slow, // mode slow and a slow call add up
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	listening(listener.Addr())

	select {
	case <-ctx.Done():
	case <-books.Failed():
		err = errors.New("state file can no longer be written")
	case err = <-served:
		err = fmt.Errorf("serve: %w", err)
	}
	s.hurry()
	err = errors.Join(err, shutdown(ctx, server))
	s.late.Wait() // what is carried out late reaches the books
	return err
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
