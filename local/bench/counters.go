package bench

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// counters are a service's metrics, by name without the prefix.
type counters map[string]float64

const metricPrefix = "quadrille_"

// scrape reads the metrics at the URL of a health port.
func scrape(ctx context.Context, health string) (counters, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, health+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read metrics: %s answers %s", health, resp.Status)
	}
	found := counters{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		series, value, ok := strings.Cut(lines.Text(), " ")
		if !ok || !strings.HasPrefix(series, metricPrefix) {
			continue
		}
		name, _, _ := strings.Cut(series, "{")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("read metrics: %q: %w", lines.Text(), err)
		}
		found[strings.TrimPrefix(name, metricPrefix)] += n
	}
	return found, lines.Err()
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
