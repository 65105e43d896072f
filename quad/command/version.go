package command

import (
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"

	"github.com/spf13/cobra"

	"quadrille.internal/quad/output"
)

func newVersion(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which versions are in use",
		Args:  NoArgs,
		RunE: func(*cobra.Command, []string) error {
			versions := map[string]string{"quad": "unknown", "go": "unknown"}
			maps.Copy(versions, g.opts.Versions)
			if info, ok := debug.ReadBuildInfo(); ok {
				versions["quad"], versions["go"] = info.Main.Version, info.GoVersion
			}
			if g.JSON {
				return output.JSON(os.Stdout, versions)
			}
			for _, name := range slices.Sorted(maps.Keys(versions)) {
				fmt.Printf("%-5s %s\n", name, versions[name])
			}
			return nil
		},
	}
}
