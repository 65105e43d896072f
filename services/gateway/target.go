package gateway

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/sony/gobreaker/v2"

	"quadrille.internal/platform/telemetry"
)

// target is a process that answers, and what keeps one that does not from hurting others:
// a bound of the requests under way at it, and a breaker.
type target struct {
	name    string
	places  chan struct{}
	circuit *gobreaker.TwoStepCircuitBreaker[struct{}]
}

// targets are made when they are first asked for. There are as many as routes ever had.
type targets struct {
	set settings
	log *slog.Logger
	mu  sync.Mutex
	all map[string]*target
}

func newTargets(set settings, log *slog.Logger) *targets {
	return &targets{set: set, log: log, all: make(map[string]*target)}
}

func (t *targets) get(name string) *target {
	t.mu.Lock()
	defer t.mu.Unlock()
	if found := t.all[name]; found != nil {
		return found
	}
	made := &target{name: name, places: make(chan struct{}, t.set.underWayOf)}
	made.circuit = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name: name, Timeout: t.set.breakFor, MaxRequests: 1,
		ReadyToTrip: func(c gobreaker.Counts) bool { return int(c.ConsecutiveFailures) >= t.set.breakAfter },
		IsExcluded:  func(err error) bool { return errors.Is(err, context.Canceled) },
		OnStateChange: func(name string, from, to gobreaker.State) {
			t.log.Warn("circuit breaker of a service", "service", name, "from", from.String(), "to", to.String())
		},
	})
	t.all[name] = made
	return made
}

// breakers are those of the targets, by name. Names are those of routes, which operators set.
func (t *targets) breakers() map[string]telemetry.Breaker {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make(map[string]telemetry.Breaker, len(t.all))
	for name, target := range t.all {
		all[name] = stateOf(target.circuit.State())
	}
	return all
}

func stateOf(s gobreaker.State) telemetry.Breaker {
	switch s {
	case gobreaker.StateOpen:
		return telemetry.Open
	case gobreaker.StateHalfOpen:
		return telemetry.HalfOpen
	case gobreaker.StateClosed:
	}
	return telemetry.Closed
}

// A visit is a request under way at a target.
type visit struct {
	done  func(error)
	leave func() // gives the place back, once
}

var (
	errOpen = errors.New("is left alone, as it did not answer")
	errBusy = errors.New("has as many requests under way as it may")
)

// enter takes a place, or says why there is none. The caller owes done and leave.
func (t *target) enter() (visit, error) {
	select {
	case t.places <- struct{}{}:
	default:
		return visit{}, errBusy
	}
	done, err := t.circuit.Allow()
	if err != nil {
		<-t.places
		return visit{}, errOpen
	}
	var once sync.Once
	return visit{
		done:  func(err error) { once.Do(func() { done(err) }) },
		leave: sync.OnceFunc(func() { <-t.places }),
	}, nil
}
