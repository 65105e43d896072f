package service

import (
	"context"
	"net/http"
	"time"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/subscriber"
)

const readyTimeout = time.Second

// ready answers 200 when the service does its work and is to get more: it does not
// stop, both the database and the sidecar answer, all subscriptions are made, and no
// events fail for a fault of ours.
func (p *process) ready(w http.ResponseWriter, r *http.Request) error {
	if p.stopping.Load() {
		return fault.New(fault.Unavailable, "stopping", "The service is stopping.")
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := p.pool.Ping(ctx); err != nil {
		return &fault.Fault{Kind: fault.Unavailable, Code: "database", Message: "The database does not answer.", Cause: err}
	}
	if err := p.sidecar.Ready(ctx, subscriber.Subscribed(p.spec.Name, p.spec.Hears)); err != nil {
		return &fault.Fault{Kind: fault.Unavailable, Code: "sidecar", Message: err.Error(), Cause: err}
	}
	if err := p.inbox.Alarm(); err != nil {
		return &fault.Fault{Kind: fault.Unavailable, Code: "parking_stopped", Cause: err,
			Message: "Events fail for what seems to be a fault of the service; its log names the cause."}
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// drain returns a context that ends some time after ctx, which is the signal to stop.
// In between the service works on and is no longer ready, so that load balancers,
// which learn that with a delay, send nothing to a closed port.
func (p *process) drain(ctx context.Context) (context.Context, context.CancelFunc) {
	drained, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		p.stopping.Store(true)
		p.log.InfoContext(drained, "stopping", "drain", p.set.drain)
		select {
		case <-time.After(p.set.drain):
		case <-drained.Done():
		}
		cancel()
	})
	return drained, func() { stop(); cancel() }
}

// closeWhenStopping has clients that keep a connection open look for another
// replica before the port closes.
func (p *process) closeWhenStopping(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
