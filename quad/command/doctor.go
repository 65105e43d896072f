package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
)

// A Finding is the outcome of one check of quad doctor.
type Finding struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
}

func newDoctor(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check what a context leads to, with a remedy for every fault",
		Long: `doctor tries each address, token and database of the context that is meant. For the
stack on this machine it checks the machine and what is running.`,
		Args: NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings, err := g.examine(cmd)
			if err != nil {
				return err
			}
			if g.JSON {
				err = output.JSON(os.Stdout, findings)
			} else {
				err = printFindings(findings)
			}
			if err != nil {
				return err
			}
			for _, f := range findings {
				if !f.OK {
					return Unwell{Err: errors.New(f.Check), Said: true}
				}
			}
			return nil
		},
	}
}

func (g *Globals) examine(cmd *cobra.Command) ([]Finding, error) {
	inst, err := g.open(cmd, 0)
	if err != nil {
		return nil, err
	}
	defer inst.Close()
	if inst.Name == installation.Local {
		return g.opts.Examine(cmd.Context())
	}
	var findings []Finding
	for _, p := range inst.Probes() {
		ctx, cancel := context.WithTimeout(cmd.Context(), probeTimeout)
		detail, err := p.Try(ctx)
		cancel()
		findings = append(findings, findingOf(inst, p.Setting, detail, err))
	}
	return findings, nil
}

// probeTimeout bounds the check of one setting.
const probeTimeout = 10 * time.Second

func findingOf(inst *installation.Installation, setting, detail string, err error) Finding {
	unreachable := installation.Unreachable(err)
	err = inst.Explain(err)
	if environment, ok := errors.AsType[*installation.EnvironmentError](err); ok {
		if unreachable {
			environment.Remedy = "is it running, the port forwarded, and the setting right? it is in " + inst.File()
		}
		return Finding{setting, false, environment.Problem, environment.Remedy}
	}
	if err != nil {
		return Finding{setting, false, err.Error(), "compare it with the installation"}
	}
	return Finding{setting, true, detail, ""}
}

func printFindings(findings []Finding) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		mark := output.Paint(os.Stdout, output.Green, "ok")
		if !f.OK {
			mark = output.Paint(os.Stdout, output.Red, "fault")
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", f.Check, mark, f.Detail)
		if f.Remedy != "" {
			fmt.Fprintf(table, "\t\t-> %s\n", f.Remedy)
		}
	}
	return table.Flush()
}
