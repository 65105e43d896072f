package gateway

import (
	"context"
	"net/http"
	"time"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
)

// streamWriteTimeout is what a reader of an event stream may take for one write. A reader who
// went away without a word is found out after it, so that is when another may try again.
const streamWriteTimeout = 30 * time.Second

// beginStream takes an answer that has no end out of the limits of those that have: it takes
// no place at its service, and lasts as long as its reader takes what comes.
func (g *gateway) beginStream(p *passage, _ *http.Response) error {
	if !p.timer.Stop() {
		return errSlow
	}
	if err := g.takeStream(p); err != nil {
		return err
	}
	p.stream.unhook = context.AfterFunc(g.ending, func() { p.cancel(nil) })
	p.visit.leave()
	return p.stream.control.SetReadDeadline(time.Time{}) // or the server takes the reader for gone
}

// takeStream takes a place among all streams, one among those of the address and, where it is
// known who calls, one among his. What a stream watches costs the services memory, so nobody
// may have all of it.
func (g *gateway) takeStream(p *passage) error {
	network := rest.NetworkOf(p.address)
	if !g.streamsOfAddress.Take(network) {
		return fault.New(fault.TooMany, "too_many_streams", "Your address has as many event streams as it may; end one, or try again after the seconds in Retry-After.")
	}
	free := func() { g.streamsOfAddress.Free(network) }
	if p.subject != "" {
		if !g.streamsOfSubject.Take(p.subject) {
			free()
			return fault.New(fault.TooMany, "too_many_streams", "You have as many event streams as you may; end one, or try again after the seconds in Retry-After.")
		}
		ofAddress := free
		free = func() { ofAddress(); g.streamsOfSubject.Free(p.subject) }
	}
	select {
	case g.streams <- struct{}{}:
	default:
		free()
		return fault.New(fault.Unavailable, "streams_full", "As many event streams as may be are open; try again shortly.")
	}
	g.counts.streams.Add(1)
	p.stream.free = func() {
		<-g.streams
		g.counts.streams.Add(-1)
		free()
	}
	return nil
}

func (p *passage) endStream() {
	if p.stream != nil && p.stream.free != nil {
		p.stream.unhook()
		p.stream.free()
	}
}

// stream is the answer of a passage. Each write of an endless one has its own time.
type stream struct {
	http.ResponseWriter
	control *http.ResponseController
	// free gives the places of an endless one back; others have none.
	free   func()
	unhook func() bool
}

func (s *stream) Write(b []byte) (int, error) {
	if s.free != nil {
		if err := s.control.SetWriteDeadline(time.Now().Add(streamWriteTimeout)); err != nil {
			return 0, err
		}
	}
	return s.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (s *stream) Unwrap() http.ResponseWriter { return s.ResponseWriter }
