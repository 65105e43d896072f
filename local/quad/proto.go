package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"quadrille.internal/local/protos"
	"quadrille.internal/local/release"
	"quadrille.internal/local/stack"
	"quadrille.internal/quad/command"
	"quadrille.internal/quad/output"
)

func newProto(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "proto",
		Short: "Check and compile the files by which services call one another",
		Long: `proto works on events/proto by buf, which is built from its Go module, once for each
version (about 2 minutes), and stays in .local/protos. It needs no other registry.`,
		Args: command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newProtoCheck(g), &cobra.Command{
		Use:   "generate",
		Short: "Write the Go code of events/proto",
		Args:  command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, tools, err := g.protoTools(cmd.Context())
			if err != nil {
				return err
			}
			return tools.Generate(cmd.Context(), s.Root)
		},
	})
	return cmd
}

func newProtoCheck(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Hold events/proto against the linter, the release before and its Go code",
		Long: `check reports what buf's linter finds, what would break the services of the release
before (docs/releases.txt; its commit must be in this clone), and Go code that was not
generated from the files. What is excepted, and why, is in local/protos/buf.yaml.

Exit code 1: there are faults, each with its file and line.`,
		Example: "  quad proto check\n  quad proto check --json",
		Args:    command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, tools, err := g.protoTools(cmd.Context())
			if err != nil {
				return err
			}
			before, err := release.Previous(s.Root)
			if err != nil {
				return err
			}
			source, err := before.Source(cmd.Context())
			if err != nil {
				return err
			}
			faults, err := tools.Check(cmd.Context(), s.Root, source)
			if err != nil {
				return err
			}
			if err := g.printFaults(faults, before.Name); err != nil {
				return err
			}
			if len(faults) > 0 {
				return command.Unwell{Err: errors.New("events/proto has faults"), Said: true}
			}
			return nil
		},
	}
}

func (g *globals) printFaults(faults []string, before string) error {
	if g.JSON {
		return output.JSON(os.Stdout, struct {
			Before string   `json:"release_before"`
			Faults []string `json:"faults"`
		}{before, append([]string{}, faults...)})
	}
	for _, fault := range faults {
		fmt.Printf("%s  %s\n", output.Paint(os.Stdout, output.Red, "fault"), fault)
	}
	if len(faults) == 0 {
		fmt.Printf("events/proto is well, and breaks nothing of %s\n", before)
	}
	return nil
}

// protoTools builds what works on the files, where it is missing.
func (g *globals) protoTools(ctx context.Context) (*stack.Stack, protos.Tools, error) {
	s, err := g.open(newProgress(os.Stderr, false).report)
	if err != nil {
		return nil, "", err
	}
	if err := s.BuildProtoTools(ctx); err != nil {
		return nil, "", err
	}
	dir, _ := s.ProtoTools()
	return s, protos.Tools(dir), nil
}
