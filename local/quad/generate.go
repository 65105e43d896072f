package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"
	"quadrille.internal/quad/command"
)

func newGenerate(g *globals) *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Write what follows from the declarations of the services",
		Long: `generate writes deploy/services and the parts of local/dapr.yaml, components/, deploy/,
docs/ and quad/ that follow from what each service declares (service.Spec): who publishes,
hears and calls what, ports and settings. With --check it writes nothing, and ends with 1 and the names of the files
that are not up to date. It compiles the services, so they must build.`,
		Args: command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := g.open(nil)
			if err != nil {
				return err
			}
			// Not a part of this program: that may be older than the services.
			args := []string{"run", "./local/generate"}
			if check {
				args = append(args, "-check")
			}
			c := exec.CommandContext(cmd.Context(), "go", args...)
			c.Dir, c.Stdout, c.Stderr = s.Root, os.Stdout, os.Stderr
			err = c.Run()
			if _, ended := errors.AsType[*exec.ExitError](err); ended {
				return command.Unwell{Err: err, Said: true}
			}
			if err != nil {
				return fmt.Errorf("generate: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "write nothing, and fail where a file is not up to date")
	return cmd
}
