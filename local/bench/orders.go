package bench

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
)

// An author writes the requests of a scenario's orders. Order i is the same
// whenever and by whomever it is written, so that a run depends on its seed only
// and not on how connections take turns. An author is used by one goroutine.
type author struct {
	scenario Scenario
	seed     uint64
	runID    string
	host     string

	source *rand.PCG
	random *rand.Rand
	zipf   *rand.Zipf
	picked []uint64
	body   []byte
	out    []byte
}

// Few SKUs are bought often: the most popular one is on every seventh line.
const zipfExponent = 1.1

func newAuthor(s Scenario, seed uint64, runID, host string) *author {
	a := &author{scenario: s, seed: seed, runID: runID, host: host, source: rand.NewPCG(0, 0)}
	a.random = rand.New(a.source) //nolint:gosec // it has to repeat itself
	a.zipf = rand.NewZipf(a.random, zipfExponent, 1, catalogueSize-1)
	return a
}

// fate is what an order is meant to meet.
type fate int

const (
	success fate = iota
	declined
	short
	cancelled
)

func (a *author) drawFate() fate {
	p, s := a.random.Float64(), a.scenario.shares
	switch {
	case p < s.declined:
		return declined
	case p < s.declined+s.short:
		return short
	case p < s.declined+s.short+s.cancelled:
		return cancelled
	default:
		return success
	}
}

const (
	customers   = 5_000
	missingSKU  = "bench-missing" // of which there never is any
	orderPrefix = "bench-"        // of idempotency keys and customers
)

func hotSKU(runID string) string { return "bench-hot-" + runID }

func catalogueSKU(rank uint64) string { return fmt.Sprintf("bench-%05d", rank) }

// write returns the HTTP request of order i, valid until the next call.
func (a *author) write(i int) (request []byte, f fate) {
	a.source.Seed(a.seed, uint64(i)) //nolint:gosec // i is not negative
	f = a.drawFate()
	b := a.appendBuyer(a.body[:0], f)
	b = append(b, `,"lines":[`...)
	b = a.appendLines(b, i, f)
	a.body = append(b, `]}`...)
	return a.request(i), f
}

// appendBuyer begins the body with who buys, and how they pay.
func (a *author) appendBuyer(b []byte, f fate) []byte {
	if a.scenario.trade.approvals {
		return fmt.Appendf(b, `{"company_id":%q,"ordered_by":"buyer"`, companyID(a.random.IntN(companies)))
	}
	token := "tok_success"
	if f == declined {
		token = "tok_decline"
	}
	b = append(b, `{"customer_id":"`...)
	b = append(b, orderPrefix...)
	b = strconv.AppendInt(b, int64(a.random.IntN(customers)), 10)
	b = append(b, `","currency":"GBP","payment_token":"`...)
	b = append(b, token...)
	return append(b, '"')
}

// appendLines leaves what a flash sale is about to the orders that count.
func (a *author) appendLines(b []byte, i int, f fate) []byte {
	fewest, most := a.scenario.lines[0], a.scenario.lines[1]
	a.picked = a.picked[:0]
	for n := range fewest + a.random.IntN(most-fewest+1) {
		if n > 0 {
			b = append(b, ',')
		}
		switch {
		case f == short && n == 0:
			b = appendLine(b, missingSKU, 1, 999)
		case a.scenario.goods == hot && i >= a.scenario.WarmUp:
			b = appendLine(b, hotSKU(a.runID), 1, 4_999)
		default:
			rank := a.pick()
			b = appendLine(b, catalogueSKU(rank), 1+a.random.IntN(3), 100+int(rank%900)) //nolint:gosec // below 900
		}
	}
	return b
}

// pick draws a SKU that the order does not have yet.
func (a *author) pick() uint64 {
	rank := a.zipf.Uint64()
	for slices.Contains(a.picked, rank) {
		rank = (rank + 1) % catalogueSize
	}
	a.picked = append(a.picked, rank)
	return rank
}

func appendLine(b []byte, sku string, quantity, price int) []byte {
	b = append(b, `{"sku":"`...)
	b = append(b, sku...)
	b = append(b, `","quantity":`...)
	b = strconv.AppendInt(b, int64(quantity), 10)
	b = append(b, `,"unit_price":`...)
	b = strconv.AppendInt(b, int64(price), 10)
	return append(b, '}')
}

func (a *author) request(i int) []byte {
	b := append(a.out[:0], "POST "...)
	b = append(b, a.scenario.trade.path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, a.host...)
	b = append(b, "\r\nContent-Type: application/json\r\nIdempotency-Key: "...)
	b = append(b, idempotencyKey(a.runID, i)...)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(a.body)), 10)
	b = append(b, "\r\n\r\n"...)
	a.out = append(b, a.body...)
	return a.out
}

func idempotencyKey(runID string, i int) string {
	return orderPrefix + runID + "-" + strconv.Itoa(i)
}

// numberOf is the reverse of idempotencyKey, given how the run's keys begin.
func numberOf(key, prefix string) (int, error) { return strconv.Atoi(key[len(prefix):]) }
