package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A Result is what one scenario came to. Of a run that was not verified there
// are no figures.
type Result struct {
	Scenario string    `json:"scenario"`
	At       time.Time `json:"at"`
	Commit   string    `json:"commit,omitempty"`
	Machine  Machine   `json:"machine"`
	Mode     string    `json:"mode"`
	Seed     uint64    `json:"seed"`
	Orders   int       `json:"orders"`
	WarmUp   int       `json:"warm_up"`

	// Verified says that quad verify found the books right afterwards.
	Verified bool     `json:"verified"`
	Faults   []string `json:"faults,omitempty"`
	// Oversold counts units that were sold and never were there.
	Oversold int64 `json:"oversold"`

	*Figures
}

// Machine is what the figures were measured on.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory int64  `json:"memory_bytes"`
	Go     string `json:"go"`
}

// Figures of a run.
type Figures struct {
	OrdersPerSecond   float64 `json:"orders_per_second"`
	BareDaprPerSecond float64 `json:"bare_chain_per_second"`
	RatioToBareDapr   float64 `json:"ratio_to_bare_chain"`
	// BareDapr is the same machine's Dapr without databases; nil if not measured.
	BareDapr *BareDapr `json:"bare_chain,omitempty"`

	// SettledMS is from the intended start until the last event was handled and
	// committed, HTTPMS until the answer, ToldMS until the customer of an order
	// that did not go through could read why.
	SettledMS Quantiles `json:"settled_ms"`
	HTTPMS    Quantiles `json:"http_ms"`
	ToldMS    Quantiles `json:"told_ms"`
	// ApprovedMS is from sending an approval until its order was completed.
	ApprovedMS Quantiles `json:"approved_ms"`

	Seconds  float64        `json:"seconds"`
	Outcomes map[string]int `json:"outcomes"`
	// Shed are the answers 503 with Retry-After, TurnedAway the buyers whose
	// patience ended, TooLate the cancellations of orders that were confirmed.
	Shed       int64 `json:"shed"`
	TurnedAway int64 `json:"turned_away"`
	TooLate    int64 `json:"too_late_to_cancel"`
	// UnitsSold is of the one SKU of a flash sale.
	UnitsSold int64 `json:"units_sold,omitempty"`
	// Watchers are the browsers that watched its stock; nil where there were none.
	Watchers *WatchersResult `json:"watchers,omitempty"`

	CPUSeconds     map[string]float64 `json:"cpu_seconds"`
	CPUMSPerOrder  float64            `json:"cpu_ms_per_order"`
	CPUShare       float64            `json:"cpu_share"` // of all cores
	PeakResidentMB map[string]float64 `json:"peak_resident_mb"`
	PeakOpenFiles  map[string]int     `json:"peak_open_files"`
	// GrowthMB tells, of services and sidecars, resident memory early and late.
	GrowthMB           map[string]Growth  `json:"resident_growth_mb"`
	EventsPerTx        map[string]float64 `json:"events_per_transaction"`
	EventsPerPublish   map[string]float64 `json:"events_per_publish"`
	WALBytesPerOrder   float64            `json:"wal_bytes_per_order"`
	BrokerBytesPerItem float64            `json:"broker_bytes_per_order"`
	Deferred           float64            `json:"outbox_deferred"`
	Recovered          float64            `json:"outbox_recovered"`
	Duplicates         float64            `json:"duplicates"`

	// Where splits the settled time; nil of companies' orders.
	Where *Where `json:"where,omitempty"`

	Timeline []Point `json:"timeline"`
}

// Point is one stretch of a run's time.
type Point struct {
	Second float64 `json:"second"` // its end, since the load began
	Rate   float64 `json:"orders_per_second"`
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
}

// Results are the newest result of each scenario, by its name.
type Results map[string]*Result

// ReadResults reads a result file.
func ReadResults(path string) (Results, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r Results
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

// An archive is the folder that keeps results: one folder a run, and at the top
// the newest of each scenario.
type archive struct{ dir, run string }

func newArchive(dir string, at time.Time) (*archive, error) {
	a := &archive{dir: dir, run: filepath.Join(dir, at.Format("2006-01-02T15-04-05"))}
	return a, os.MkdirAll(a.run, 0o755)
}

func (a *archive) latest() string { return filepath.Join(a.dir, "latest.json") }

// keep writes one scenario's result and picture.
func (a *archive) keep(r *Result) error {
	for _, path := range []string{a.latest(), filepath.Join(a.run, "results.json")} {
		all, err := ReadResults(path)
		if errors.Is(err, fs.ErrNotExist) {
			all, err = Results{}, nil
		}
		if err != nil {
			return err
		}
		all[r.Scenario] = r
		if err := writeJSON(path, all); err != nil {
			return err
		}
	}
	if r.Figures == nil {
		return nil
	}
	picture := draw(r)
	for _, dir := range []string{a.dir, a.run} {
		if err := os.WriteFile(filepath.Join(dir, r.Scenario+".svg"), picture, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeJSON replaces a file whole, so that nobody reads half of it.
func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	fresh := path + ".new"
	if err := os.WriteFile(fresh, append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}
