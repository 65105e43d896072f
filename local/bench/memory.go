package bench

import (
	"fmt"
	"maps"
	"slices"
)

// A Growth is the resident memory of a part, in MB: early in a run, when pools
// and caches are filled, and at its end.
type Growth struct {
	Early float64 `json:"early"`
	Late  float64 `json:"late"`
}

// Heaps breathe, so less than this is no growth: a part, or so many MB.
const (
	growthShare = 0.10
	growthMB    = 8
)

func (g Growth) tooMuch() bool { return g.Late-g.Early > max(growthShare*g.Early, growthMB) }

// growthOf compares what lies between a sixth and a third of a run with its last
// sixth: of an hour, minutes 10 to 20 with the last ten.
func growthOf(samples []int64) Growth {
	n := len(samples)
	return Growth{Early: medianMB(samples[n/6 : n/3]), Late: medianMB(samples[n-n/6:])}
}

func medianMB(samples []int64) float64 {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	return float64(sorted[len(sorted)/2]>>10) / 1024
}

// growth is that of services and sidecars. The others may grow: the stand-ins keep
// their books in memory, and the load generator its orders.
func (t *trial) growth() map[string]Growth {
	all := make(map[string]Growth)
	for _, part := range t.Stack.ServiceProcesses() {
		all[part] = growthOf(t.census.samples[part])
	}
	return all
}

// grown names the parts whose memory grew too much.
func grown(all map[string]Growth) []string {
	var parts []string
	for _, part := range slices.Sorted(maps.Keys(all)) {
		if g := all[part]; g.tooMuch() {
			parts = append(parts, fmt.Sprintf("%s grew from %.0f to %.0f MB", part, g.Early, g.Late))
		}
	}
	return parts
}
