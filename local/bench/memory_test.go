package bench

import (
	"slices"
	"testing"
)

// hour is resident memory in MB, a sample a second, by the minute.
func hour(mb func(minute int) int) []int64 {
	samples := make([]int64, 3600)
	for i := range samples {
		samples[i] = int64(mb(i/60)) << 20
	}
	return samples
}

func TestMemoryThatGrowsIsFound(t *testing.T) {
	flat := func(int) int { return 50 }
	for name, tc := range map[string]struct {
		mb   func(minute int) int
		want []string
	}{
		"flat":                   {flat, nil},
		"filling at the start":   {func(m int) int { return min(20+5*m, 60) }, nil},
		"a peak in between":      {func(m int) int { return []int{50, 50, 50, 150, 50, 50}[m/10] }, nil},
		"breathing":              {func(m int) int { return 50 + m%7 }, nil},
		"leaking slowly":         {func(m int) int { return 50 + m/4 }, []string{"order grew from 53 to 63 MB"}},
		"a large part, a little": {func(m int) int { return 200 + m/3 }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := grown(map[string]Growth{"order": growthOf(hour(tc.mb)), "checkout": growthOf(hour(flat))})
			if !slices.Equal(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
	if g := growthOf(nil); g.tooMuch() {
		t.Errorf("a run too short to tell grew: %v", g)
	}
}

func TestTheHourIsNoPartOfAll(t *testing.T) {
	all, err := Choose("all", Overrides{})
	if err != nil || len(all) != len(scenarios())-1 || slices.ContainsFunc(all, func(s Scenario) bool { return s.Flat }) {
		t.Errorf("%d scenarios, %v", len(all), err)
	}
	if one, err := Choose("hour", Overrides{}); err != nil || len(one) != 1 || !one[0].Flat {
		t.Errorf("hour: %v, %v", one, err)
	}
}
