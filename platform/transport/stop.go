package transport

import (
	"time"

	"google.golang.org/grpc"
)

// StopTimeout is what events, calls and requests under way have at the end of a service.
const StopTimeout = 4 * time.Second

// StopServer takes no more calls and waits for those under way, at most that long: the
// connections of the rest are cut, and their handlers left to themselves.
func StopServer(s *grpc.Server, atMost time.Duration) {
	done := make(chan struct{})
	go func() { defer close(done); s.GracefulStop() }()
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		// Stop cuts the connections, then both wait: GracefulStop for the handlers, with a
		// lock that Stop needs to end.
		go s.Stop()
	}
}
