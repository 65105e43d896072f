// Package sizing reckons what a number of orders a minute needs, from what a benchmark of the
// services on Dapr has measured. docs/sizing.md says what it assumes.
package sizing

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"quadrille.internal/local/bench"
)

// The scenarios that a model is made of: many orders in a batch, and hardly more than one. The
// middle one is what it is checked against.
const (
	Large  = "steady"
	Small  = "steady-50"
	Middle = "steady-500"
)

// cost is what a part of the system takes of a core, in milliseconds: for each order, and for
// each batch of orders, however many are in it.
type cost struct{ order, batch float64 }

func (c cost) of(batch float64) float64 { return c.order + c.batch/batch }

// Model is what orders cost.
type Model struct {
	parts map[string]cost
	// Batch is how many events share a transaction where there is much to do.
	Batch float64
	// WAL and Broker are bytes an order; Broker counts what goes in and what comes out.
	WAL, Broker float64
}

// point is one measurement.
type point struct {
	batch float64
	parts map[string]float64 // milliseconds of a core an order
}

// pointOf reads a result. What a real installation has elsewhere is left out: those who order,
// and the stand-ins of third parties.
func pointOf(r bench.Results, scenario string) (p point, err error) {
	res := r[scenario]
	switch {
	case res == nil || res.Figures == nil || !res.Verified:
		return p, fmt.Errorf("there is no verified result of %s: run `quad bench --scenario %s`", scenario, scenario)
	case res.CPUSeconds["checkout-daprd"] == 0:
		return p, fmt.Errorf("the result of %s is not of Dapr: run `quad bench --scenario %s` without --one-process", scenario, scenario)
	}
	batches := 0
	for _, n := range res.EventsPerTx {
		if n > 0 {
			p.batch += n
			batches++
		}
	}
	if batches == 0 || res.CPUMSPerOrder == 0 {
		return p, fmt.Errorf("the result of %s does not say how many events shared a transaction", scenario)
	}
	p.batch = max(1, p.batch/float64(batches))
	p.parts = make(map[string]float64, len(res.CPUSeconds))
	orders := total(res.CPUSeconds) * 1000 / res.CPUMSPerOrder // warm-up and late ones included, as they were counted
	for part, seconds := range res.CPUSeconds {
		if !slices.Contains(elsewhere, part) {
			p.parts[part] = 1000 * seconds / orders
		}
	}
	return p, nil
}

var elsewhere = []string{"load generator", "psp", "erp", "mail"}

// Read makes a model of results.
func Read(r bench.Results) (*Model, error) {
	small, errSmall := pointOf(r, Small)
	large, errLarge := pointOf(r, Large)
	if err := errors.Join(errSmall, errLarge); err != nil {
		return nil, err
	}
	m, err := fit(small, large)
	if err != nil {
		return nil, err
	}
	m.WAL, m.Broker = r[Large].WALBytesPerOrder, r[Large].BrokerBytesPerItem
	return m, nil
}

// fit lays a line through two points, of each part. What does not get cheaper by batches costs
// the same for each order.
func fit(small, large point) (*Model, error) {
	if large.batch <= small.batch {
		return nil, fmt.Errorf("batches of %.1f and %.1f events do not tell what a batch costs: measure again with nothing else running", small.batch, large.batch)
	}
	m := &Model{parts: make(map[string]cost, len(large.parts)), Batch: large.batch}
	for part, dear := range small.parts {
		cheap := large.parts[part]
		batch := max(0, (dear-cheap)/(1/small.batch-1/large.batch))
		m.parts[part] = cost{order: max(0, cheap-batch/large.batch), batch: batch}
	}
	return m, nil
}

// cpu is what an order takes of all parts.
func (m *Model) cpu(batch float64) (ms float64) {
	for _, c := range m.parts {
		ms += c.of(batch)
	}
	return ms
}

// idle is what a service that orders do not go through takes of a core, in milliseconds an order.
const idle = 0.01

// services are those that orders go through.
func (m *Model) services() []string {
	var names []string
	for part := range m.parts {
		if name, ok := strings.CutSuffix(part, "-daprd"); ok && m.parts[name].of(m.Batch) > idle {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func total(values map[string]float64) (sum float64) {
	for _, v := range values {
		sum += v
	}
	return sum
}

// A Check compares what the model says of a measurement that it was not made of with it.
type Check struct {
	What      string  `json:"what"`
	Reckoned  float64 `json:"reckoned"`
	Measured  float64 `json:"measured"`
	Deviation float64 `json:"deviation"` // of the reckoned from the measured: 0.1 is 10 % more
}

// Checks leaves each of two measurements out in turn, and reckons it from the others.
func Checks(r bench.Results) ([]Check, error) {
	points := make(map[string]point, 3)
	for _, scenario := range []string{Small, Middle, Large} {
		p, err := pointOf(r, scenario)
		if err != nil {
			return nil, err
		}
		points[scenario] = p
	}
	without := func(small, large, out string) (reckoned, measured float64, err error) {
		m, err := fit(points[small], points[large])
		if err != nil {
			return 0, 0, err
		}
		return m.cpu(points[out].batch), total(points[out].parts), nil
	}
	middle, measured, err := without(Small, Large, Middle)
	if err != nil {
		return nil, err
	}
	checks := []Check{check("ms of CPU an order at 500 a second", middle, measured)}
	dear, measured, err := without(Small, Middle, Large)
	if err != nil {
		return nil, err
	}
	most := r[Large].OrdersPerSecond // all cores busy: what an order costs says how many there can be
	return append(checks, check("orders a second at most", most*measured/dear, most)), nil
}

func check(what string, reckoned, measured float64) Check {
	return Check{What: what, Reckoned: reckoned, Measured: measured, Deviation: reckoned/measured - 1}
}
