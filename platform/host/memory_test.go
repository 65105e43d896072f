package host

import (
	"runtime/debug"
	"testing"
	"testing/fstest"
)

func TestMemoryLimitFollowsTheCgroup(t *testing.T) {
	const group = "proc/self/cgroup"
	for _, c := range []struct {
		name  string
		files map[string]string
		limit int64
		from  string
	}{
		{"no cgroup", nil, 132 << 20, "default"},
		{"v2, as a container sees it", map[string]string{group: "0::/\n", "sys/fs/cgroup/memory.max": "1000000000\n"}, 800_000_000, "cgroup"},
		{"v2, a group below another", map[string]string{
			group: "0::/pod/app\n", "sys/fs/cgroup/pod/app/memory.max": "max\n", "sys/fs/cgroup/pod/memory.max": "500000000\n",
			"sys/fs/cgroup/memory.max": "900000000\n",
		}, 400_000_000, "cgroup"},
		{"v2, without a limit", map[string]string{group: "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 132 << 20, "default"},
		{"v2, a path of the host", map[string]string{group: "0::/kubepods/pod1/c1\n", "sys/fs/cgroup/memory.max": "100000000\n"}, 80_000_000, "cgroup"},
		{"v2, a path above the namespace", map[string]string{group: "0::/../other\n", "sys/fs/cgroup/memory.max": "100000000\n"}, 80_000_000, "cgroup"},
		{"v1", map[string]string{
			group: "9:cpu,cpuacct:/x\n4:memory:/docker/1\n0::/\n",
			"sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "200000000\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":          "9223372036854771712\n",
		}, 160_000_000, "cgroup"},
		{"v1, in a container", map[string]string{
			group: "4:memory:/docker/1\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "300000000\n",
		}, 240_000_000, "cgroup"},
		{"v1, without a limit", map[string]string{
			group: "4:memory:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n",
		}, 132 << 20, "default"},
		{"rubbish", map[string]string{group: "rubbish\n0::\n", "sys/fs/cgroup/memory.max": "lots"}, 132 << 20, "default"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := fstest.MapFS{}
			for name, content := range c.files {
				root[name] = &fstest.MapFile{Data: []byte(content)}
			}
			if limit, from := memoryLimit(root, func(string) string { return "" }, 1); limit != c.limit || from != c.from {
				t.Errorf("limit %d from %s, want %d from %s", limit, from, c.limit, c.from)
			}
		})
	}
}

func TestGOMEMLIMITWins(t *testing.T) {
	root := fstest.MapFS{
		"proc/self/cgroup":         {Data: []byte("0::/\n")},
		"sys/fs/cgroup/memory.max": {Data: []byte("1000000000\n")},
	}
	limit, from := memoryLimit(root, func(string) string { return "100MiB" }, 1)
	if want := debug.SetMemoryLimit(-1); limit != want || from != "GOMEMLIMIT" {
		t.Errorf("limit %d from %s, want the runtime's %d", limit, from, want)
	}
}

// The manifests give GOMEMLIMIT by the downward API, which has no way to give less than all.
func TestGOMEMLIMITOfTheWholeContainerLeavesTheKernelSome(t *testing.T) {
	before := debug.SetMemoryLimit(1_000_000_000)
	defer debug.SetMemoryLimit(before)
	root := fstest.MapFS{
		"proc/self/cgroup":         {Data: []byte("0::/\n")},
		"sys/fs/cgroup/memory.max": {Data: []byte("1000000000\n")},
	}
	limit, from := memoryLimit(root, func(string) string { return "1000000000" }, 1)
	if limit != 800_000_000 || from != "cgroup" {
		t.Errorf("limit %d from %s, want four fifths of the container's", limit, from)
	}
}

func TestTheDefaultLimitGrowsWithTheServices(t *testing.T) {
	none := func(string) string { return "" }
	if limit, _ := memoryLimit(fstest.MapFS{}, none, 5); limit != 5*unboundedMemory {
		t.Errorf("five services may have %d bytes", limit)
	}
	bounded := fstest.MapFS{"proc/self/cgroup": {Data: []byte("0::/\n")}, "sys/fs/cgroup/memory.max": {Data: []byte("1000000000\n")}}
	if limit, from := memoryLimit(bounded, none, 5); limit != 800_000_000 || from != "cgroup" {
		t.Errorf("within a cgroup five services may have %d bytes, from %s", limit, from)
	}
}
