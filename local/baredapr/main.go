// Command baredapr is one hop of the four of bare Dapr that quad bench measures
// Quadrille against: it passes messages on through its sidecar as the services
// do, in bulk and raw, but decides nothing and stores nothing. What four of them
// carry a second is what the machine can do without databases.
//
// Hop 1 also sends the messages off and takes the time when they come back.
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
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"quadrille.internal/platform/sidecar"
	"quadrille.internal/platform/subscriber"
	"quadrille.internal/platform/transport"
)

type config struct {
	hop, hops     int
	grpc, control string
}

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var cfg config
	flag.IntVar(&cfg.hop, "hop", 1, "which hop this is; 1 also sends the messages off")
	flag.IntVar(&cfg.hops, "hops", 4, "how many there are")
	flag.StringVar(&cfg.grpc, "grpc", "127.0.0.1:19101", "host:port for the sidecar's deliveries")
	flag.StringVar(&cfg.control, "control", "127.0.0.1:19102", "host:port of GET /ready and, at hop 1, POST /run")
	flag.Parse()
	if err := run(ctx, cfg, log); err != nil {
		log.Error("bare Dapr hop failed", "err", err)
		os.Exit(1)
	}
}

func app(hop int) string   { return "bench" + strconv.Itoa(hop) }
func topic(hop int) string { return "bench.hop" + strconv.Itoa(hop) }

// run passes messages on until ctx ends.
func run(ctx context.Context, cfg config, log *slog.Logger) error {
	daprd, err := sidecar.Dial(net.JoinHostPort("127.0.0.1", os.Getenv("DAPR_GRPC_PORT")), os.Getenv("DAPR_API_TOKEN"))
	if err != nil {
		return err
	}
	defer daprd.Close() //nolint:errcheck // nothing must be saved
	out := newForwarder(daprd, topic(cfg.hop), log)
	mux := http.NewServeMux()

	before := cfg.hop - 1
	var handler transport.Handler = hop{out}
	if cfg.hop == 1 {
		before = cfg.hops
		d := newDriver(out)
		mux.HandleFunc("POST /run", d.serve)
		handler = d
	}
	mux.HandleFunc("GET /ready", readiness(daprd, subscriber.Subscribed(app(cfg.hop), []string{topic(before)})))
	deliveries := subscriber.NewGRPC(subscriber.Config{
		App: app(cfg.hop), Topics: []string{topic(before)}, Token: os.Getenv("APP_API_TOKEN"), Handler: handler, Log: log,
	})
	control := &http.Server{Addr: cfg.control, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.grpc)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}

	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return out.run(ctx) })
	parts.Go(func() error { return deliveries.Serve(listener) })
	parts.Go(func() error {
		if err := control.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	parts.Go(func() error {
		<-ctx.Done()
		deliveries.Stop()
		return control.Close()
	})
	return parts.Wait()
}

// readiness answers 200 once the sidecar has subscribed to the topics.
func readiness(daprd *sidecar.Sidecar, topics []string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := daprd.Ready(r.Context(), topics); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	}
}
