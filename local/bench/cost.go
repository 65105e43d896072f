package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"quadrille.internal/local/stack"
)

// generator is this process, among the parts.
const generator = "load generator"

// partsOf finds the process of every part that runs on this machine.
func partsOf(s *stack.Stack) (map[string]int, error) {
	pids := map[string]int{generator: os.Getpid()}
	parts := []string{postgres, s.BrokerPart(), "sentry", "placement", "scheduler", "psp", "erp", "mail"}
	if s.OneProcess() {
		parts = []string{postgres, "psp", "erp", "mail"}
	}
	if s.ByDebezium() {
		parts = append(parts, "connect")
	}
	parts = append(parts, s.ServiceProcesses()...)
	for _, part := range parts {
		p := s.Process(part)
		switch {
		case p != nil:
			pids[part] = p.PID
		case part != postgres && part != s.BrokerPart(): // those may be somebody else's
			return nil, fmt.Errorf("%s is not running; `quad up` starts it", part)
		}
	}
	return pids, nil
}

// sight is what a run's costs are the difference of.
type sight struct {
	at      time.Time
	used    map[string]usage
	metrics map[string]metrics // by service
	wal     int64
	traffic int64
}

func (t *trial) look(ctx context.Context) (s sight, err error) {
	s.at, s.metrics = time.Now(), map[string]metrics{}
	if s.used, err = t.census.take(); err != nil {
		return s, err
	}
	for _, app := range t.Stack.Apps() {
		if s.metrics[app], err = scrape(ctx, t.Stack.HealthURL(app)); err != nil {
			return s, err
		}
	}
	if s.wal, err = t.books.walPosition(ctx); err != nil {
		return s, err
	}
	if t.broker != nil {
		s.traffic, err = t.broker.traffic()
	}
	return s, err
}

// figures puts together what the run showed and cost. Costs are those of all
// orders, the warm-up's too.
func (t *trial) figures(ctx context.Context, before, after sight) (*Figures, error) {
	n := float64(t.load.accepted.Load())
	f := &Figures{
		Shed: t.load.shed.Load(), TurnedAway: t.load.given.Load(), TooLate: t.load.tooLate.Load(),
		WALBytesPerOrder:   per(float64(after.wal-before.wal), n),
		BrokerBytesPerItem: per(float64(after.traffic-before.traffic), n),
	}
	f.enterUsage(t.census, before, after, n)
	f.enterGroups(before, after)
	f.GrowthMB = t.growth()

	ends, err := t.books.ends(ctx, t.runID, len(t.load.placed))
	if err != nil {
		return nil, err
	}
	h, err := historyOf(t.load, ends)
	if err != nil {
		return nil, err
	}
	f.fill(h)
	f.Where = t.where(before, after, those(h.orders, func(c course) bool { return c.answered > 0 }))
	f.Outcomes, err = t.books.outcomes(ctx)
	return f, err
}

func (f *Figures) enterUsage(c *census, before, after sight, orders float64) {
	f.CPUSeconds, f.PeakResidentMB, f.PeakOpenFiles = map[string]float64{}, map[string]float64{}, map[string]int{}
	var total float64
	for part, u := range after.used {
		f.CPUSeconds[part] = (u.cpu - before.used[part].cpu).Seconds()
		f.PeakResidentMB[part] = float64(c.peak[part].resident>>10) / 1024
		f.PeakOpenFiles[part] = c.peak[part].files
		total += f.CPUSeconds[part]
	}
	f.CPUMSPerOrder = per(1000*total, orders)
	f.CPUShare = per(total, after.at.Sub(before.at).Seconds()*float64(runtime.NumCPU()))
}

func (f *Figures) enterGroups(before, after sight) {
	f.EventsPerTx, f.EventsPerPublish = map[string]float64{}, map[string]float64{}
	for app, now := range after.metrics {
		c := now.counters.since(before.metrics[app].counters)
		f.EventsPerTx[app] = per(c["inbox_handled_total"], c["inbox_transactions_total"])
		f.EventsPerPublish[app] = per(c["outbox_published_total"], c["outbox_publish_calls_total"])
		f.Deferred += c["outbox_deferred_total"]
		f.Recovered += c["outbox_recovered_total"]
		f.Duplicates += c["inbox_duplicates_total"]
	}
}

type description struct {
	commit  string
	machine Machine
}

// describe says what was measured, and on what; what it can't find out it leaves
// empty.
func describe(ctx context.Context, root string) description {
	d := description{machine: Machine{Cores: runtime.NumCPU(), Go: runtime.Version()}}
	git := exec.CommandContext(ctx, "git", "-C", root, "describe", "--always", "--dirty", "--abbrev=10")
	if out, err := git.Output(); err == nil {
		d.commit = string(bytes.TrimSpace(out))
	}
	d.machine.CPU = lineOf("/proc/cpuinfo", "model name")
	var kib int64
	if _, err := fmt.Sscanf(lineOf("/proc/meminfo", "MemTotal"), "%d kB", &kib); err == nil {
		d.machine.Memory = kib << 10
	}
	return d
}

// lineOf returns the value of the first line with a name, of those that /proc
// writes as "name : value".
func lineOf(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
