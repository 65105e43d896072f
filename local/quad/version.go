package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"quadrille.internal/local/stack"
)

func newVersion(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which versions are in use",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			versions := map[string]string{"dapr": stack.DaprVersion, "quad": "unknown", "go": "unknown"}
			if info, ok := debug.ReadBuildInfo(); ok {
				versions["quad"], versions["go"] = info.Main.Version, info.GoVersion
			}
			if g.json {
				return printJSON(os.Stdout, versions)
			}
			fmt.Printf("quad %s, Dapr %s, built with %s\n", versions["quad"], versions["dapr"], versions["go"])
			return nil
		},
	}
}
