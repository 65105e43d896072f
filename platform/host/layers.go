package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"quadrille.internal/platform/service"
)

// stack is what a service runs, bottom up.
type stack struct {
	service string
	layers  []service.Layer
}

// layers are those of the services that run.
type layers struct {
	ended chan error // of one that ended early

	mu     sync.Mutex
	levels map[service.Level][]*runningStack
	closed bool
}

// runningStack is what a service runs at one level, bottom up.
type runningStack struct {
	service string
	layers  []*started
}

func newLayers() *layers {
	return &layers{ended: make(chan error, 1), levels: make(map[service.Level][]*runningStack)}
}

// run starts the layers of services, bottom up. When ctx ends, or one of the layers
// does, it stops them top down, level by level: first what customers reach of all
// services, publishing last. Within a level the services stop side by side, and each one's
// layers one after another. A stop that takes longer than limit is given up; what is
// unfinished then is recovered at the next start. Meanwhile services may be started and
// stopped.
func (l *layers) run(ctx context.Context, limit time.Duration, stacks []stack) error {
	err := l.start(ctx, stacks...)
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-l.ended:
		}
	}
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	return errors.Join(err, l.stop(ctx, limit, func(string) bool { return true }))
}

// start starts services, level by level.
func (l *layers) start(ctx context.Context, stacks ...stack) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errors.New("the process is stopping")
	}
	most := service.Level(0)
	for _, s := range stacks {
		for _, layer := range s.layers {
			most = max(most, layer.Level)
		}
	}
	for level := range most + 1 {
		for _, s := range stacks {
			running := &runningStack{service: s.service}
			for _, layer := range s.layers {
				if layer.Level == level {
					running.layers = append(running.layers, start(ctx, s.service+": "+layer.Name, layer.Run, l.ended))
				}
			}
			if running.layers != nil {
				l.levels[level] = append(l.levels[level], running)
			}
		}
	}
	return nil
}

// stop stops the chosen services, also after the end of ctx, and forgets them.
func (l *layers) stop(ctx context.Context, limit time.Duration, chosen func(service string) bool) error {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	var err error
	for level := l.highest(); level >= 0; level-- {
		err = errors.Join(err, stopLevel(late, l.take(level, chosen)))
		if late.Err() != nil {
			return errors.Join(err, fmt.Errorf("the stop was given up after %s", limit))
		}
	}
	return err
}

func (l *layers) highest() (most service.Level) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for level := range l.levels {
		most = max(most, level)
	}
	return most
}

// take removes and returns what the chosen services run at a level.
func (l *layers) take(level service.Level, chosen func(service string) bool) (taken [][]*started) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.levels[level] = slices.DeleteFunc(l.levels[level], func(s *runningStack) bool {
		if !chosen(s.service) {
			return false
		}
		taken = append(taken, s.layers)
		return true
	})
	return taken
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
			select {
			case ended <- fmt.Errorf("%s ended early: %w", name, errors.Join(errEnded, err)):
			default: // the first one ends all
			}
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
