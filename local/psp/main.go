// Command psp stands in for the payment provider: a third party with a server,
// a ledger and a temper of its own. API.md describes it.
package main

import (
	"time"

	"quadrille.internal/local/psp/ledger"
	"quadrille.internal/local/standin"
)

var program = standin.Program{
	Name:     "psp",
	Addr:     "127.0.0.1:18900",
	Open:     open,
	Modes:    []standin.Mode{standin.ModeOK, standin.ModeDown, standin.ModeSlow, standin.ModeLate, standin.ModeLimited},
	Internal: errInternal,
	Down:     errUnavailable,
	Limited:  errRateLimited,
}

func main() { program.Main() }

// server answers the calls under /v1.
type server struct {
	*standin.Server
	ledger   *ledger.Ledger
	refusals refusals
}

func open(base *standin.Server, stateFile string) (standin.Books, error) {
	book, err := ledger.Open(stateFile, time.Now, base.Log)
	if err != nil {
		return nil, err
	}
	s := &server{Server: base, ledger: book, refusals: refusals{seen: map[string]int{}}}
	s.Route("POST /v1/charges", s.createCharge)
	s.Route("POST /v1/charges/cancel", s.cancelCharge)
	s.Route("GET /v1/charges", s.listCharges)
	s.Route("GET /v1/charges/{id}", s.showCharge)
	s.Route("POST /v1/refunds", s.createRefund)
	s.Route("GET /v1/refunds", s.listRefunds)
	s.Route("GET /v1/ledger/summary", s.showSummary)
	return book, nil
}
