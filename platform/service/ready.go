package service

import (
	"context"
	"net/http"
	"os"
	"strconv"
	"time"

	"quadrille.internal/platform/fault"
)

const readyTimeout = time.Second

// ready answers 200 when the service does its work and is to get more: it does not
// stop, the database answers, events come (with Dapr: the sidecar answers and has made all
// subscriptions), and none fail for a fault of ours.
func (s *Instance) ready(w http.ResponseWriter, r *http.Request) error {
	if s.set.sharePorts { // two processes answer here: which one is this?
		w.Header().Set("Quadrille-Pid", strconv.Itoa(os.Getpid()))
	}
	if s.stopping.Load() {
		return fault.New(fault.Unavailable, "stopping", "The service is stopping.")
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if s.pool != nil {
		if err := s.pool.Ping(ctx); err != nil {
			return &fault.Fault{Kind: fault.Unavailable, Code: "database", Message: "The database does not answer.", Cause: err}
		}
	}
	if err := s.transport.Ready(ctx); err != nil {
		return &fault.Fault{Kind: fault.Unavailable, Code: "transport", Message: err.Error(), Cause: err}
	}
	if s.inbox != nil {
		if err := s.inbox.Alarm(); err != nil {
			return &fault.Fault{Kind: fault.Unavailable, Code: "parking_stopped", Cause: err,
				Message: "Events fail for what seems to be a fault of the service; its log names the cause."}
		}
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// closeWhenStopping has clients that keep a connection open look for another
// replica before the port closes.
func (s *Instance) closeWhenStopping(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
