// Command balancer stands where a load balancer stands in production: before the replicas of
// each service on this machine. It hands each connection to a replica that is ready.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], log); err != nil && !errors.Is(err, flag.ErrHelp) {
		log.Error("balancer failed", "err", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, log *slog.Logger) error {
	var fronts []*front
	flags := flag.NewFlagSet("balancer", flag.ContinueOnError)
	flags.Func("front", "ADDR=REPLICA@HEALTH,... for each address that it listens on, where each HEALTH answers /readyz", func(text string) error {
		f, err := parseFront(text)
		fronts = append(fronts, f)
		return err
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	if len(fronts) == 0 {
		return errors.New("there is no -front")
	}
	return serve(ctx, fronts, log)
}

// serve listens on all fronts until ctx ends.
func serve(ctx context.Context, fronts []*front, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, f := range fronts {
		if err := f.listen(ctx); err != nil {
			return fmt.Errorf("listen on %s: %w", f.addr, err)
		}
	}
	ended := make(chan error, len(fronts))
	for _, f := range fronts {
		go func() { ended <- f.serve(ctx, log) }()
	}
	var err error
	for range fronts {
		err = errors.Join(err, <-ended)
		cancel() // without one of them it is of no use
	}
	return err
}
