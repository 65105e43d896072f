package main

import (
	"os"

	"github.com/spf13/cobra"
	"quadrille.internal/quad/command"
)

func newBuild(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "build",
		Short: "Build the services, and Dapr when its version or build changed",
		Args:  command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := g.open(newProgress(os.Stdout, g.JSON).report)
			if err != nil {
				return err
			}
			return s.BuildAll(cmd.Context())
		},
	}
}
