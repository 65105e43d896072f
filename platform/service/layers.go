package service

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// layer is a part of a process that runs until its context ends, and by then
// has finished what it took in. A layer may use those below it.
type layer struct {
	name string
	run  func(context.Context) error
}

// runLayers starts layers bottom up. When ctx ends, or one of them does, it
// stops them top down: intake first, publishing last. A stop that takes longer
// than limit is given up; what is unfinished then is recovered at the next start.
func runLayers(ctx context.Context, limit time.Duration, layers []layer) error {
	running := make([]*started, 0, len(layers))
	ended := make(chan error, len(layers))
	for _, l := range layers {
		running = append(running, start(ctx, l, ended))
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended:
	}
	late := time.NewTimer(limit)
	defer late.Stop()
	for i := len(running) - 1; i >= 0; i-- {
		running[i].cancel()
		select {
		case <-running[i].done:
			err = errors.Join(err, running[i].err)
		case <-late.C:
			return errors.Join(err, fmt.Errorf("%s did not stop within %s", running[i].name, limit))
		}
	}
	return err
}

type started struct {
	layer
	cancel context.CancelFunc
	done   chan struct{}
	err    error // of a stop; valid once done is closed
}

func start(ctx context.Context, l layer, ended chan<- error) *started {
	// Each layer has its own end, which comes after that of the layers above it.
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &started{layer: l, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		err := l.run(own)
		switch {
		case own.Err() == nil:
			ended <- fmt.Errorf("%s ended early: %w", l.name, errors.Join(errEnded, err))
		case err != nil:
			s.err = fmt.Errorf("stop %s: %w", l.name, err)
		}
	}()
	return s
}

var errEnded = errors.New("it runs as long as the process")
