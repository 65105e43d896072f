package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"quadrille.internal/platform/servicetest/browsers"
)

// Watchers are browsers that watch the stock of the SKU of a flash sale.
type Watchers struct {
	Browsers int
	// At is the service whose public port they ask.
	At string
}

// Env has the services take them all, on ports of their own beside the gateway's.
func (w Watchers) Env() map[string]string {
	const all = "200000"
	return map[string]string{
		"QUADRILLE_PUBLIC_PORT": "open", "QUADRILLE_CONNECTIONS": all, "QUADRILLE_STREAMS": all, "QUADRILLE_STOCK_WATCHERS": all,
	}
}

// WatchersResult is what came of them.
type WatchersResult struct {
	Browsers int `json:"browsers"`
	// Frames are what they were told together. At the end SoldOut had heard of a level of 0.
	Frames  int64 `json:"frames"`
	SoldOut int64 `json:"sold_out"`
	// CPUSeconds are those of the browsers.
	CPUSeconds float64 `json:"cpu_seconds"`
}

// open has the browsers watch, and returns nil where there are none to.
func (w Watchers) open(t *trial) (*watching, error) {
	if w.Browsers == 0 || t.scenario.goods != hot {
		return nil, nil //nolint:nilnil // as it says
	}
	server, err := netip.ParseAddrPort(t.host(w.At))
	if err != nil {
		return nil, err
	}
	c, err := browsers.Open(server, "/v1/carts/stock?sku="+hotSKU(t.runID), w.Browsers)
	if err != nil {
		return nil, fmt.Errorf("have browsers watch: %w", err)
	}
	for began := time.Now(); c.Stats(false).Frames < int64(w.Browsers); time.Sleep(lookEvery) { //nolint:forbidigo // it polls until a deadline
		if time.Since(began) > stallAfter {
			c.Close()
			return nil, fmt.Errorf("%w: some were told nothing", errLost)
		}
	}
	return &watching{Crowd: c, browsers: w.Browsers}, nil
}

type watching struct {
	*browsers.Crowd
	browsers int
}

var errLost = errors.New("browsers lost their stream")

func (w *watching) result() (*WatchersResult, error) {
	s, soldOut := w.Stats(false), w.Having(0)
	w.Close()
	if s.Ended+s.Strange > 0 {
		return nil, fmt.Errorf("%w: %d ended, %d were refused", errLost, s.Ended, s.Strange)
	}
	return &WatchersResult{Browsers: w.browsers, Frames: s.Frames, SoldOut: soldOut, CPUSeconds: s.CPU.Seconds()}, nil
}
