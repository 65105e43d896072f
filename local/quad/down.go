package main

import (
	"os"

	"github.com/spf13/cobra"
	"quadrille.internal/quad/command"
)

func newDown(g *globals) *cobra.Command {
	var wipe bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop everything and leave nothing running",
		Long: `down stops the services first, so that they finish and publish what they have, then
the sidecars and the infrastructure, and last whatever a crash left behind.`,
		Args: command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := g.open(newProgress(os.Stdout, g.JSON).report)
			if err != nil {
				return err
			}
			if wipe {
				return s.Wipe(cmd.Context())
			}
			return s.Down(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&wipe, "wipe", false, "also delete the data: orders, stock, ledgers, logs, passwords")
	return cmd
}
