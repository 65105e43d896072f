package gateway

import (
	"bytes"
	"io"
	"net/http"
	"time"
)

const (
	// maxReceived is what is received of an answer before any of it is sent, in bytes, and
	// maxHeld what answers that their readers are slow to take may have together.
	maxReceived = 256 << 10
	maxHeld     = 64 << 20
	// restTimeout bounds what comes of an answer after that. The server gives up by then.
	restTimeout = 30 * time.Second
)

// receive takes a service's answer from it before the first byte is sent, so that a slow reader
// keeps none of its places, and one that breaks off is a problem and not half an answer. What
// is larger, or of a system outside, goes on as it comes.
func (g *gateway) receive(p *passage, res *http.Response) error {
	var held []byte
	if p.route.Service != "" {
		var err error
		if held, err = io.ReadAll(io.LimitReader(res.Body, maxReceived+1)); err != nil {
			return err
		}
	}
	if !p.timer.Stop() {
		return errSlow
	}
	whole := p.route.Service != "" && len(held) <= maxReceived
	body := io.Reader(bytes.NewReader(held))
	if !whole {
		p.timer.Reset(restTimeout)
		body = io.MultiReader(body, res.Body)
	}
	if size := int64(len(held)); whole {
		p.held = size
		if g.held.Add(size) <= maxHeld {
			p.visit.leave()
		}
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{body, res.Body}
	return nil
}
