package host

import (
	"io/fs"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

const (
	// unboundedMemory is the Go memory limit for each service where nothing else bounds
	// memory: half as much again as bodies, deliveries and the outbox's queue may hold
	// (88 MiB). Below what is in use, the collector would only burn processor time. A
	// quiet service needs a third of it.
	unboundedMemory = 132 << 20
	// memoryPercent of the memory that a container has are Go's; the kernel's buffers
	// for our sockets count there too.
	memoryPercent = 80
	// noLimit is about what cgroup v1 says where there is none.
	noLimit = 1 << 62
)

// memoryLimit returns the Go memory limit for a process of some services and where it is
// from, so that the collector works harder before the kernel kills the process. GOMEMLIMIT
// wins, but where it is all that the container has, as Kubernetes' downward API gives it:
// that would leave the kernel nothing.
func memoryLimit(root fs.FS, getenv func(string) string, services int) (limit int64, from string) {
	whole, bounded := cgroupMemory(root)
	if getenv("GOMEMLIMIT") != "" {
		if limit = debug.SetMemoryLimit(-1); !bounded || limit != whole { // the runtime has read it
			return limit, "GOMEMLIMIT"
		}
	}
	if bounded {
		return whole / 100 * memoryPercent, "cgroup"
	}
	return int64(services) * unboundedMemory, "default"
}

// cgroupMemory returns the lowest memory limit among the process's cgroup and those
// above it, of version 2 or 1.
func cgroupMemory(root fs.FS) (lowest int64, ok bool) {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0, false // not Linux
	}
	for line := range strings.Lines(string(groups)) {
		// hierarchy-ID:controllers:path
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		var mount, file string
		switch controllers {
		case "":
			mount, file = "sys/fs/cgroup", "memory.max"
		case "memory":
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		// In a container the path may be one of the host, which is not mounted: its own
		// group is the root then.
		for dir := path.Clean("/" + group); ; dir = path.Dir(dir) {
			if n, found := readLimit(root, path.Join(mount, dir, file)); found && (!ok || n < lowest) {
				lowest, ok = n, true
			}
			if dir == "/" {
				break
			}
		}
	}
	return lowest, ok
}

func readLimit(root fs.FS, file string) (int64, bool) {
	b, err := fs.ReadFile(root, file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64) // or "max"
	return n, err == nil && n > 0 && n < noLimit
}
