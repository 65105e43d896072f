package main

import (
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"quadrille.internal/local/traces"
	"quadrille.internal/quad/command"
)

// newTraces is the collector that `quad up --trace` starts.
func newTraces() *cobra.Command {
	var addr, dir string
	cmd := &cobra.Command{
		Use:    "traces",
		Short:  "Keep the spans that services send by OTLP over HTTP",
		Hidden: true,
		Args:   command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ln, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", addr)
			if err != nil {
				return fmt.Errorf("listen for spans: %w", err)
			}
			return traces.Serve(cmd.Context(), ln, dir)
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:18940", "where to listen")
	cmd.Flags().StringVar(&dir, "keep", ".local/traces", "folder for what is kept")
	return cmd
}
