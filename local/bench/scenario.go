// Package bench measures how many orders Quadrille settles and how soon, on the
// machine it runs on, with everything real. An order counts once its last event
// is handled and its end state is committed; docs/performance.md explains how
// that is found out and how to read the result.
package bench

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// A Scenario says what customers order and how the orders come in.
type Scenario struct {
	Name string
	// Orders are those that count; WarmUp come before them.
	Orders, WarmUp int
	// InFlight bounds the orders placed and not settled: a closed loop.
	InFlight int
	// Rate is an open loop of so many orders a second, whatever becomes of them; 0
	// for a closed loop.
	Rate float64
	// Burst offers all orders at once.
	Burst bool
	// Connections is how many requests can be under way.
	Connections int
	// Flat says that no service or sidecar may grow meanwhile. It takes long, so that
	// "all" leaves it out.
	Flat bool

	trade       *trade
	goods       goods
	lines       [2]int // fewest and most of an order
	shares      shares
	unitsPerBuy float64 // flash: units on sale for each order; 0: nothing runs out
}

// goods is what there is to buy.
type goods string

const (
	catalogue goods = "catalogue" // many SKUs, of which few are bought often
	hot       goods = "hot"       // one SKU
)

// shares of the orders that do not go through, of 1.
type shares struct{ declined, short, cancelled float64 }

const (
	catalogueSize = 10_000
	// flashShare: five buyers want each unit.
	flashShare = 0.2
)

// plentiful is the stock of a SKU that must not run out within a run.
const plentiful = 10_000_000

// scenarios are all there are, in the order that "all" runs them.
func scenarios() []Scenario {
	closed := Scenario{InFlight: 1_000, Connections: 256, trade: &checkouts, goods: catalogue, lines: [2]int{1, 3}}
	vary := func(name string, orders int, change func(*Scenario)) Scenario {
		s := closed
		s.Name, s.Orders = name, orders
		change(&s)
		return s
	}
	return []Scenario{
		vary("steady", 30_000, func(*Scenario) {}),
		vary("flash", 50_000, func(s *Scenario) { s.goods, s.lines, s.unitsPerBuy = hot, [2]int{1, 1}, flashShare }),
		vary("basket", 10_000, func(s *Scenario) { s.lines = [2]int{20, 20} }),
		vary("mixed", 20_000, func(s *Scenario) { s.shares = shares{declined: 0.10, short: 0.05, cancelled: 0.02} }),
		vary("steady-500", 15_000, func(s *Scenario) { s.Rate = 500 }),
		vary("steady-50", 1_500, func(s *Scenario) { s.Rate = 50 }),
		// More buyers at once than the edge lets in, so that it has to send some away.
		vary("burst", 50_000, func(s *Scenario) { s.Burst, s.Connections = true, 8_000 }),
		vary("hour", 360_000, func(s *Scenario) { s.Rate, s.Flat = 100, true }),
		vary("b2b", 3_000, func(s *Scenario) { s.trade, s.InFlight, s.Connections = &deals, 64, 64 }),
		vary("b2b-16", 1_000, func(s *Scenario) { s.trade, s.InFlight, s.Connections = &deals, 16, 16 }),
	}
}

// Names lists the scenarios.
func Names() []string {
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.Name)
	}
	return names
}

// Overrides change a scenario; zero values leave it as it is, a WarmUp of -1 does.
type Overrides struct {
	Orders, InFlight, WarmUp, Connections int
	Rate                                  float64
}

// Choose returns the scenarios of names, separated by commas, or those of make
// bench for "all".
func Choose(names string, o Overrides) ([]Scenario, error) {
	all := scenarios()
	chosen := slices.DeleteFunc(slices.Clone(all), func(s Scenario) bool { return s.Flat })
	if names != "all" {
		chosen = nil
		for name := range strings.SplitSeq(names, ",") {
			i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name })
			if i < 0 {
				return nil, fmt.Errorf("there is no scenario %q; there are all, %s", name, strings.Join(Names(), ", "))
			}
			chosen = append(chosen, all[i])
		}
	}
	for i := range chosen {
		if err := chosen[i].override(o); err != nil {
			return nil, err
		}
	}
	return chosen, nil
}

// longestWarmUp in orders: by then caches, pools and adaptive batches have settled.
const longestWarmUp = 3_000

func (s *Scenario) override(o Overrides) error {
	if o.Orders < 0 || o.InFlight < 0 || o.WarmUp < -1 || o.Connections < 0 || o.Rate < 0 {
		return fmt.Errorf("orders, in-flight, connections and rate are positive numbers")
	}
	replace(&s.Orders, o.Orders)
	replace(&s.InFlight, o.InFlight)
	replace(&s.Connections, o.Connections)
	if o.Rate > 0 {
		s.Rate, s.Burst = o.Rate, false
	}
	switch {
	case s.Burst:
		s.WarmUp = 0 // the surprise is the point
	case o.WarmUp >= 0:
		s.WarmUp = o.WarmUp
	case s.Rate > 0:
		s.WarmUp = min(int(2*s.Rate), s.Orders/5, longestWarmUp)
	default:
		s.WarmUp = min(2*s.InFlight, s.Orders/5, longestWarmUp)
	}
	return nil
}

func replace(value *int, with int) {
	if with > 0 {
		*value = with
	}
}

func (s *Scenario) total() int { return s.Orders + s.WarmUp }

// units is how many there are of the one SKU of a flash sale.
func (s *Scenario) units() int64 { return int64(math.Round(float64(s.Orders) * s.unitsPerBuy)) }

// closed loop: an order is placed when an earlier one is settled.
func (s *Scenario) closed() bool { return s.Rate == 0 && !s.Burst }

// mode says in words how orders come in.
func (s *Scenario) mode() string {
	switch {
	case s.Burst:
		return fmt.Sprintf("all at once over %d connections", s.Connections)
	case s.Rate > 0:
		return fmt.Sprintf("%g a second", s.Rate)
	default:
		return fmt.Sprintf("%d in flight", s.InFlight)
	}
}

// eventBytes is about the size of the scenario's events, for bare Dapr to
// carry as much: an envelope, and the lines in two events of four.
func (s *Scenario) eventBytes() int {
	const envelope, line = 560, 34
	return envelope + line*(s.lines[0]+s.lines[1])/2
}

// intended returns when order i must be placed, in an open loop.
func (s *Scenario) intended(i int) time.Duration {
	return time.Duration(float64(i) / s.Rate * float64(time.Second))
}
