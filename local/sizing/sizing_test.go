package sizing

import (
	"math"
	"slices"
	"strings"
	"testing"

	"quadrille.internal/local/bench"
)

// measured makes a result in which every order takes so much of a core, and every batch.
func measured(scenario string, batch, perSecond float64, order, each map[string]float64) *bench.Result {
	const orders = 1_000
	f := &bench.Figures{
		OrdersPerSecond: perSecond, CPUSeconds: map[string]float64{"load generator": 1}, EventsPerTx: map[string]float64{"checkout": batch, "b2b": 0},
		WALBytesPerOrder: 12_000, BrokerBytesPerItem: 9_000,
	}
	sum := 1.0
	for part, ms := range order {
		f.CPUSeconds[part] = (ms + each[part]/batch) * orders / 1_000
		sum += f.CPUSeconds[part]
	}
	f.CPUMSPerOrder = 1_000 * sum / orders
	return &bench.Result{Scenario: scenario, Orders: orders, Verified: true, Figures: f}
}

var (
	orderMS = map[string]float64{"checkout": 0.1, "checkout-daprd": 0.2, "order": 0.3, "order-daprd": 0.1, "postgres": 0.4, "redis": 0.1}
	batchMS = map[string]float64{"checkout": 2, "checkout-daprd": 3, "order": 4, "order-daprd": 1, "postgres": 8, "redis": 2}
)

func results() bench.Results {
	return bench.Results{
		Small:  measured(Small, 1, 50, orderMS, batchMS),
		Middle: measured(Middle, 10, 500, orderMS, batchMS),
		Large:  measured(Large, 50, 1_200, orderMS, batchMS),
	}
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9*max(1, math.Abs(b)) }

// What the model is made of comes out of it again, and so do the measurements that it was not made of.
func TestModelFindsWhatOrdersAndBatchesCost(t *testing.T) {
	m, err := Read(results())
	if err != nil {
		t.Fatal(err)
	}
	for part, ms := range orderMS {
		if got := m.parts[part]; !near(got.order, ms) || !near(got.batch, batchMS[part]) {
			t.Errorf("%s costs %+v, want %v an order and %v a batch", part, got, ms, batchMS[part])
		}
	}
	if _, there := m.parts["load generator"]; there {
		t.Error("who orders is counted")
	}
	if got := m.services(); !slices.Equal(got, []string{"checkout", "order"}) {
		t.Errorf("services are %v", got)
	}
	checks, err := Checks(results())
	if err != nil || len(checks) != 2 {
		t.Fatal(checks, err)
	}
	for _, c := range checks {
		if !near(c.Deviation, 0) && math.Abs(c.Deviation) > 1e-9 {
			t.Errorf("%+v", c)
		}
	}
}

func TestChecksTellHowFarOffTheModelIs(t *testing.T) {
	r := results()
	for part := range r[Middle].CPUSeconds {
		r[Middle].CPUSeconds[part] *= 2
	}
	r[Middle].CPUMSPerOrder *= 2
	checks, err := Checks(r)
	if err != nil || !near(checks[0].Deviation, -0.5) {
		t.Errorf("%+v, %v, want half of what was measured", checks, err)
	}
}

// Ten times the orders need ten times what grows with them, and not less than the least.
func TestSize(t *testing.T) {
	m, err := Read(results())
	if err != nil {
		t.Fatal(err)
	}
	few, p, ten := m.Size(60, Usual()), m.Size(150_000, Usual()), m.Size(1_500_000, Usual())
	if few.Services[0].Replicas != minReplicas || few.Brokers != minBrokers || few.Shards != 1 || few.Partitions != 12 {
		t.Errorf("one order a second needs %+v", few)
	}
	// 2,500 a second, 0.26 ms each in the sidecar of checkout: 0.65 cores, of pods that may use 0.3.
	if got := p.Services[0]; got.Name != "checkout" || got.Replicas != 3 || !near(got.MSSidecar, 0.26) {
		t.Errorf("checkout needs %+v", got)
	}
	if !near(p.WALMBs, 2_500*12_000/float64(mb)) || !near(p.KafkaInMBs, 2_500*3_000/float64(mb)) {
		t.Errorf("%v MB/s of WAL, %v into Kafka", p.WALMBs, p.KafkaInMBs)
	}
	if !near(ten.WALMBs, 10*p.WALMBs) || !near(ten.DatabaseCores, 10*p.DatabaseCores) || ten.Services[1].Replicas < 8*p.Services[1].Replicas {
		t.Errorf("ten times the orders need %+v", ten)
	}
	if ten.Partitions%12 != 0 || ten.Partitions < ten.Services[1].Replicas {
		t.Errorf("%d partitions for %d replicas", ten.Partitions, ten.Services[1].Replicas)
	}
	// Where the WAL of one primary no longer suffices, it writes what it can.
	first := p.Limits[0]
	if at := m.Size(first.OrdersPerMinute, Usual()); first.What != "WAL of one primary with all databases" || !near(at.WALMBs, Usual().PrimaryWALMBs) {
		t.Errorf("the first limit is %+v, where %v MB/s of WAL are written", first, at.WALMBs)
	}
}

func TestResultsThatTellNothing(t *testing.T) {
	for name, c := range map[string]struct {
		change func(bench.Results)
		says   string
	}{
		"none":            {func(r bench.Results) { delete(r, Small) }, "quad bench --scenario steady-50"},
		"not verified":    {func(r bench.Results) { r[Large].Verified = false }, "no verified result of steady"},
		"one process":     {func(r bench.Results) { delete(r[Large].CPUSeconds, "checkout-daprd") }, "not of Dapr"},
		"no batches":      {func(r bench.Results) { r[Large].EventsPerTx = nil }, "how many events"},
		"the same batch":  {func(r bench.Results) { r[Large].EventsPerTx = r[Small].EventsPerTx }, "nothing else running"},
		"refused figures": {func(r bench.Results) { r[Small].Figures = nil }, "no verified result"},
	} {
		r := results()
		c.change(r)
		if _, err := Read(r); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}
