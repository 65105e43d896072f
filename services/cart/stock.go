package cart

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"quadrille.internal/events"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
)

const (
	// maxNamed is how many SKUs a browser may name; a page shows fewer.
	maxNamed = 100
	// writeTimeout is for a browser that takes nothing any more.
	writeTimeout = 10 * time.Second
	// Browsers that lose their replica come back within this time, not all at once.
	comeBackAfter, comeBackWithin = time.Second, 4 * time.Second
)

// streamNamed tells of SKUs that the request names.
func (s *server) streamNamed(w http.ResponseWriter, r *http.Request, begin rest.Begin) error {
	skus := r.URL.Query()["sku"]
	if len(skus) == 0 || len(skus) > maxNamed {
		return fault.Field("sku", "out_of_range", "Name 1 to %d SKUs: ?sku=A&sku=B.", maxNamed)
	}
	for _, sku := range skus {
		if err := events.CheckName("sku", sku); err != nil {
			return err
		}
	}
	return s.stream(w, r, skus, begin)
}

// streamCart tells of the SKUs that the cart has now.
func (s *server) streamCart(w http.ResponseWriter, r *http.Request, begin rest.Begin) error {
	st, err := s.cartOf(r)
	if err != nil {
		return err
	}
	if len(st.Lines) == 0 {
		w.WriteHeader(http.StatusNoContent) // which has an EventSource stop
		return nil
	}
	return s.stream(w, r, skusOf(st.Lines), begin)
}

func skusOf(lines []Line) []string {
	skus := make([]string, len(lines))
	for i, l := range lines {
		skus[i] = l.SKU
	}
	return skus
}

// stream sends levels as they change, until the browser goes or the service stops.
func (s *server) stream(w http.ResponseWriter, r *http.Request, skus []string, begin rest.Begin) error {
	watcher := s.levels.watchStock(skus, r.Header.Get("Last-Event-ID"), time.Now())
	if watcher == nil {
		return fault.New(fault.Unavailable, "overloaded", "Too many SKUs are watched; try again shortly.")
	}
	defer func() { watcher.end(time.Now()) }()
	ctx, err := begin()
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies that know it do not hold frames back
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	retry := comeBackAfter + rand.N(comeBackWithin) //nolint:gosec // spreading needs no secrecy
	out := &sender{w: w, c: http.NewResponseController(w)}
	if out.send(fmt.Appendf(nil, "retry: %d\n\n", retry.Milliseconds())) == nil {
		push(ctx, out, watcher)
	}
	return nil
}

// push sends what is newest whenever it is the browser's turn. One that is slow is asked to
// take the newest once it can.
func push(ctx context.Context, out *sender, watcher *watcher) {
	turns := watcher.of.turns
	for {
		select {
		case <-ctx.Done():
			return
		case <-watcher.wake:
		}
		turns.begins()
		if frame := watcher.frame(turns.all(watcher), time.Now()); frame != nil {
			if out.send(frame) != nil {
				return
			}
			turns.frames.Add(1)
		}
		turns.told(watcher, time.Now())
	}
}

// sender sends to a browser, frame by frame.
type sender struct {
	w     http.ResponseWriter
	c     *http.ResponseController
	until time.Time // the deadline that is set
}

// send gives the browser half of writeTimeout at least: setting a deadline for each frame would
// cost a tenth of sending it.
func (s *sender) send(frame []byte) error {
	if now := time.Now(); s.until.Sub(now) < writeTimeout/2 {
		s.until = now.Add(writeTimeout)
		if err := s.c.SetWriteDeadline(s.until); err != nil {
			return err
		}
	}
	if _, err := s.w.Write(frame); err != nil { //nolint:gosec // an event stream is no HTML
		return err
	}
	return s.c.Flush()
}
