package bench

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// counters are a service's counters and gauges, by name without the prefix.
type counters map[string]float64

// metrics are what a service's health port told.
type metrics struct {
	counters counters
	timings  timings
}

const metricPrefix = "quadrille_"

// scrape reads the metrics at the URL of a health port.
func scrape(ctx context.Context, health string) (m metrics, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, health+"/metrics", nil)
	if err != nil {
		return m, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return m, fmt.Errorf("read metrics: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return m, fmt.Errorf("read metrics: %s answers %s", health, resp.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return m, fmt.Errorf("read metrics of %s: %w", health, err)
	}
	m = metrics{counters{}, timings{}}
	for name, family := range families {
		name, ours := strings.CutPrefix(name, metricPrefix)
		if !ours {
			continue
		}
		for _, series := range family.GetMetric() {
			if h := series.GetHistogram(); h != nil {
				m.timings[timing{name, labelOf(series)}] = histogramOf(h)
				continue
			}
			m.counters[name] += series.GetCounter().GetValue() + series.GetGauge().GetValue()
		}
	}
	return m, nil
}

// labelOf is the value of the one label that a histogram has beside its service, or "".
func labelOf(series *dto.Metric) string {
	for _, l := range series.GetLabel() {
		if l.GetName() != "service" {
			return l.GetValue()
		}
	}
	return ""
}

// since returns how much each has grown.
func (c counters) since(before counters) counters {
	grown := make(counters, len(c))
	for name, n := range c {
		grown[name] = n - before[name]
	}
	return grown
}

// per is a ratio that is 0 where there is nothing to divide by.
func per(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
