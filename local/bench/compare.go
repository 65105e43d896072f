package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
)

// measures are what Compare puts side by side.
var measures = []struct {
	name string
	of   func(*Figures) float64
}{
	{"orders/s", func(f *Figures) float64 { return f.OrdersPerSecond }},
	{"bare Dapr/s", func(f *Figures) float64 { return f.BareDaprPerSecond }},
	{"ratio to bare Dapr", func(f *Figures) float64 { return f.RatioToBareDapr }},
	{"settled p50 ms", func(f *Figures) float64 { return f.SettledMS.P50 }},
	{"settled p99 ms", func(f *Figures) float64 { return f.SettledMS.P99 }},
	{"settled max ms", func(f *Figures) float64 { return f.SettledMS.Max }},
	{"approved p50 ms", func(f *Figures) float64 { return f.ApprovedMS.P50 }},
	{"http p50 ms", func(f *Figures) float64 { return f.HTTPMS.P50 }},
	{"http p99 ms", func(f *Figures) float64 { return f.HTTPMS.P99 }},
	{"cpu ms/order", func(f *Figures) float64 { return f.CPUMSPerOrder }},
	{"wal bytes/order", func(f *Figures) float64 { return f.WALBytesPerOrder }},
	{"broker bytes/order", func(f *Figures) float64 { return f.BrokerBytesPerItem }},
}

// Compare prints the scenarios that both results have, figure by figure, with
// the second as a multiple of the first.
func Compare(w io.Writer, a, b Results) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "scenario\tmeasure\tA\tB\tB/A\t")
	for _, name := range slices.Sorted(maps.Keys(a)) {
		before, after := a[name], b[name]
		if after == nil {
			continue
		}
		if before.Figures == nil || after.Figures == nil {
			fmt.Fprintf(table, "%s\tnot verified, no figures\t\t\t\t\n", name)
			continue
		}
		for _, m := range measures {
			x, y := m.of(before.Figures), m.of(after.Figures)
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t\n", name, m.name, figure(x), figure(y), times(x, y))
		}
	}
	return table.Flush()
}

// figure has the digits that matter.
func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

func times(x, y float64) string {
	if x == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", y/x)
}
