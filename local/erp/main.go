// Command erp stands in for the ERP: a third party with a server, books and a
// temper of its own, and without idempotency keys. API.md describes it.
package main

import (
	"time"

	"quadrille.internal/local/erp/ledger"
	"quadrille.internal/local/standin"
)

var program = standin.Program{
	Name: "erp",
	Addr: "127.0.0.1:18910",
	Open: open,
	Modes: []standin.Mode{
		standin.ModeOK, standin.ModeDown, standin.ModeSlow,
		standin.ModeFlaky, standin.ModeFailAfter, standin.ModeLoseReply,
	},
	Partial:  true,
	Internal: errInternal,
	Down:     errUnavailable,
}

func main() { program.Main() }

// server answers the calls.
type server struct {
	*standin.Server
	ledger *ledger.Ledger
}

func open(base *standin.Server, stateFile string) (standin.Books, error) {
	book, err := ledger.Open(stateFile, time.Now, base.Log)
	if err != nil {
		return nil, err
	}
	s := &server{Server: base, ledger: book}
	s.Route("POST /v1/orders", s.createOrder)
	s.Route("GET /v1/orders", s.listOrders)
	s.Route("GET /v1/orders/{id}", s.showOrder)
	s.Route("POST /v1/orders/{id}/cancel", s.cancelOrder)
	s.Route("GET /v1/ledger/summary", s.showSummary)
	s.RouteAdmin("POST /admin/orders/{id}/ship", s.shipOrder)
	return book, nil
}
