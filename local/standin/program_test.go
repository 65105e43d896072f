package standin

import (
	"strings"
	"testing"
)

func TestFlags(t *testing.T) {
	program := Program{Name: "test", Addr: "127.0.0.1:1"}
	needed := []string{"-state", "s", "-key-file", "k"}
	for _, c := range []struct{ args, fault string }{
		{"", ""},
		{"-addr localhost:0 -slow 1s", ""},
		{"-addr [::1]:0", ""},
		{"-addr 0.0.0.0:18900", "reachable from other machines"},
		{"-addr :18900", "reachable from other machines"},
		{"-addr 0.0.0.0:18900 -allow-remote", ""},
		{"-addr 127.0.0.1", "missing port"},
		{"-state= -key-file=", "-state is required\n-key-file is required"},
		{"-slow 2m", "-slow"},
	} {
		_, err := program.ParseFlags(append(needed, strings.Fields(c.args)...))
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%q: %v, want %q", c.args, err, c.fault)
		}
	}
}
