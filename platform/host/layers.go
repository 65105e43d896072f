package host

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"quadrille.internal/platform/service"
)

// stack is what a service runs, bottom up.
type stack struct {
	service string
	layers  []service.Layer
}

// runLayers starts the layers of services, bottom up. When ctx ends, or one of the layers
// does, it stops them top down, level by level: first what customers reach of all
// services, publishing last. Within a level the services stop side by side, and each one's
// layers one after another. A stop that takes longer than limit is given up; what is
// unfinished then is recovered at the next start.
func runLayers(ctx context.Context, limit time.Duration, stacks []stack) error {
	levels, most, ended := startLayers(ctx, stacks)
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended:
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	for level := most; level >= 0; level-- {
		err = errors.Join(err, stopLevel(late, levels[level]))
		if late.Err() != nil {
			return errors.Join(err, fmt.Errorf("the stop was given up after %s", limit))
		}
	}
	return err
}

// startLayers returns what runs by level and service, and a channel for those that end
// early.
func startLayers(ctx context.Context, stacks []stack) (levels map[service.Level][][]*started, most service.Level, ended chan error) {
	levels = make(map[service.Level][][]*started)
	total := 0
	for _, s := range stacks {
		total += len(s.layers)
		for _, l := range s.layers {
			most = max(most, l.Level)
		}
	}
	ended = make(chan error, total)
	for level := range most + 1 {
		for _, s := range stacks {
			var running []*started
			for _, l := range s.layers {
				if l.Level == level {
					running = append(running, start(ctx, s.service+": "+l.Name, l.Run, ended))
				}
			}
			levels[level] = append(levels[level], running)
		}
	}
	return levels, most, ended
}

// stopLevel stops one level of all services, and names those that did not stop in time.
func stopLevel(late context.Context, services [][]*started) error {
	errs := make([]error, len(services))
	var all sync.WaitGroup
	for i, running := range services {
		all.Go(func() {
			for j := len(running) - 1; j >= 0 && late.Err() == nil; j-- {
				errs[i] = errors.Join(errs[i], running[j].stop(late))
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

type started struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error // of a stop; valid once done is closed
}

func start(ctx context.Context, name string, run func(context.Context) error, ended chan<- error) *started {
	// Each layer has its own end, which comes after that of the layers above it.
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &started{name: name, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		err := run(own)
		switch {
		case own.Err() == nil:
			ended <- fmt.Errorf("%s ended early: %w", name, errors.Join(errEnded, err))
		case err != nil:
			s.err = fmt.Errorf("stop %s: %w", name, err)
		}
	}()
	return s
}

func (s *started) stop(late context.Context) error {
	s.cancel()
	select {
	case <-s.done:
		return s.err
	case <-late.Done():
		return fmt.Errorf("%s did not stop in time", s.name)
	}
}

var errEnded = errors.New("it runs as long as the process")
