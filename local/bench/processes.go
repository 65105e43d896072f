package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// usage is what a part of the system has used so far.
type usage struct {
	cpu time.Duration
	// resident memory; of PostgreSQL what its processes share counts once.
	resident int64
	files    int // open, connections included
}

// A census watches the processes of the system: pid by part.
type census struct {
	pids map[string]int
	peak map[string]usage // resident and files are peaks
	// samples of resident memory by part, one a second
	samples map[string][]int64
}

const postgres = "postgres"

func newCensus(pids map[string]int) *census {
	return &census{pids: pids, peak: map[string]usage{}, samples: map[string][]int64{}}
}

// take measures every part now.
func (c *census) take() (map[string]usage, error) {
	now := make(map[string]usage, len(c.pids))
	for part, pid := range c.pids {
		u, err := measure(pid)
		if err != nil {
			return nil, fmt.Errorf("%s has ended: %w", part, err)
		}
		if part == postgres {
			err = addChildren(&u, pid)
		}
		if err != nil {
			return nil, err
		}
		now[part] = u
		c.peak[part] = usage{resident: max(c.peak[part].resident, u.resident), files: max(c.peak[part].files, u.files)}
	}
	return now, nil
}

// watch keeps peaks and samples until ctx ends.
func (c *census) watch(ctx context.Context) {
	const every = time.Second
	for sleep(ctx, every) == nil {
		now, err := c.take()
		if err != nil {
			return // the next measurement that matters will say so
		}
		for part, u := range now {
			c.samples[part] = append(c.samples[part], u.resident)
		}
	}
}

// measure reads what one process has used.
func measure(pid int) (u usage, err error) {
	fields, err := statFields(pid)
	if err != nil {
		return u, err
	}
	u.cpu = ticks(fields[utime]) + ticks(fields[stime])
	memory, err := memoryOf(pid)
	if err != nil {
		return u, err
	}
	u.resident = memory["RssAnon"] + memory["RssFile"] + memory["RssShmem"]
	if dir, err := os.Open(fmt.Sprintf("/proc/%d/fd", pid)); err == nil { // of another user's process only root may
		defer dir.Close()
		names, _ := dir.Readdirnames(-1) // it may end this moment
		u.files = len(names)
	}
	return u, nil
}

// addChildren adds PostgreSQL's backends: those running, and the time of those
// that have ended, which their parent was told.
func addChildren(u *usage, parent int) error {
	fields, err := statFields(parent)
	if err != nil {
		return err
	}
	u.cpu += ticks(fields[cutime]) + ticks(fields[cstime])
	memory, err := memoryOf(parent)
	if err != nil {
		return err
	}
	shared := memory["RssShmem"]
	u.resident = memory["RssAnon"]
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", parent))
	if err != nil {
		return err
	}
	for _, field := range strings.Fields(string(children)) {
		pid, _ := strconv.Atoi(field) // the kernel writes numbers
		fields, err := statFields(pid)
		if err != nil {
			continue // it ended this moment
		}
		memory, err := memoryOf(pid)
		if err != nil {
			continue
		}
		u.cpu += ticks(fields[utime]) + ticks(fields[stime])
		u.resident += memory["RssAnon"]
		shared = max(shared, memory["RssShmem"])
	}
	u.resident += shared
	return nil
}

// Fields of /proc/pid/stat after the name of the program.
const (
	utime  = 11
	stime  = 12
	cutime = 13
	cstime = 14
)

func statFields(pid int) ([]string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	// The name is in parentheses and may hold spaces.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) <= cstime || fields[0] == "Z" {
		return nil, os.ErrProcessDone
	}
	return fields, nil
}

// ticks are hundredths of a second on every Linux that Go runs on.
func ticks(field string) time.Duration {
	n, _ := strconv.ParseInt(field, 10, 64) // the kernel writes numbers
	return time.Duration(n) * 10 * time.Millisecond
}

// memoryOf reads the Rss lines of /proc/pid/status, in bytes.
func memoryOf(pid int) (map[string]int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	memory := map[string]int64{}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		if !strings.HasPrefix(name, "Rss") {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read memory of process %d: %w", pid, err)
		}
		memory[name] = kib << 10
	}
	return memory, nil
}
