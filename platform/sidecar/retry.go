package sidecar

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// retryFor bounds for how long a call that meets nobody is tried again. A replica's name
	// goes with its sidecar, a moment after the replica has stopped.
	retryFor   = 600 * time.Millisecond
	retryPause = 15 * time.Millisecond
)

// Retry calls again while nobody answers. Sidecars pick a replica by its name, without
// knowing whether it still works: the next attempt meets another as a rule. Calls that a stop
// cut come back as cancelled, though the caller's ctx is not. So a call may be received
// twice, and what services call of each other must bear it.
func Retry(ctx context.Context, call func() error) error {
	until := time.Now().Add(retryFor)
	for {
		err := call()
		if code := status.Code(err); code != codes.Unavailable && code != codes.Canceled || ctx.Err() != nil || time.Now().After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryPause + rand.N(retryPause)): //nolint:gosec // jitter needs no secrecy
		}
	}
}
