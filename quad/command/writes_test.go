package command

import (
	"slices"
	"testing"

	"github.com/spf13/cobra"
)

// A command that is new has its place in one of the lists, or it would change what a
// context says is only to be read.
func TestCommandsSayWhetherTheyChangeSomething(t *testing.T) {
	want := map[bool][]string{
		true: {
			"quad b2b approve", "quad b2b cancel", "quad b2b company set", "quad b2b reject", "quad b2b resume", "quad b2b submit",
			"quad catalog import", "quad catalog reindex", "quad erasure ask", "quad import", "quad order cancel", "quad order place", "quad parked accept", "quad parked discard", "quad parked replay",
			"quad payment resume", "quad stock adjust", "quad stock set",
		},
		false: {
			"quad b2b approvals", "quad b2b company show", "quad b2b show", "quad b2b stuck", "quad catalog check",
			"quad context add", "quad context ls", "quad context rm", "quad context show", "quad context use", "quad doctor", "quad erasure list", "quad explain",
			"quad login", "quad logout",
			"quad order list", "quad order show", "quad order watch", "quad parked list", "quad parked show",
			"quad payment list", "quad payment show", "quad stock show", "quad verify", "quad version", "quad whoami",
		},
	}
	got := make(map[bool][]string)
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		if !cmd.HasSubCommands() {
			changes := cmd.Annotations[writing] != ""
			got[changes] = append(got[changes], cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	root, _ := New(Options{})
	visit(root)
	for _, changes := range []bool{true, false} {
		if slices.Sort(got[changes]); !slices.Equal(got[changes], want[changes]) {
			t.Errorf("changes something: %v: %q,\nwant %q", changes, got[changes], want[changes])
		}
	}
}
