package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"quadrille.internal/local/stack"
)

// A finding is the outcome of one check.
type finding struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
}

func newDoctor(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check the machine and what is running, with a remedy for every fault",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := g.open(nil)
			if err != nil {
				return err
			}
			findings := examine(cmd.Context(), s)
			if g.json {
				err = printJSON(os.Stdout, findings)
			} else {
				err = printFindings(findings)
			}
			if err != nil {
				return err
			}
			for _, f := range findings {
				if !f.OK {
					return unwell{error: errors.New(f.Check), said: true}
				}
			}
			return nil
		},
	}
}

func examine(ctx context.Context, s *stack.Stack) []finding {
	findings := []finding{checkGo(ctx), checkDisk(s), checkServers(s), checkToolchain(s), checkServices(s)}
	return append(findings, checkParts(s.Status(ctx))...)
}

func checkGo(ctx context.Context) finding {
	out, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
	version := strings.TrimSpace(string(out))
	var minor int
	_, _ = fmt.Sscanf(version, "go1.%d", &minor) // 0 when it does not match
	const needed = 26
	if err != nil || minor < needed {
		return finding{"go", false, "found " + version, fmt.Sprintf("install Go 1.%d or newer: https://go.dev/dl", needed)}
	}
	return finding{"go", true, version, ""}
}

func checkDisk(s *stack.Stack) finding {
	const gib = 1 << 30
	needed := int64(1)
	if !s.ToolchainBuilt() {
		needed = 6 // module and build caches of the first build
	}
	free, err := s.FreeDisk()
	if err != nil {
		return finding{"disk", false, err.Error(), "check the folder given with --dir"}
	}
	f := finding{"disk", free >= needed*gib, fmt.Sprintf("%d GiB free", free/gib), ""}
	if !f.OK {
		f.Remedy = fmt.Sprintf("free at least %d GiB", needed)
	}
	return f
}

func checkServers(s *stack.Stack) finding {
	postgres, broker, err := s.ServersFound()
	if missing, ok := errors.AsType[*stack.EnvironmentError](err); ok {
		return finding{"servers", false, missing.Problem, missing.Remedy}
	}
	return finding{"servers", true, fmt.Sprintf("PostgreSQL %s, %s", postgres, broker), ""}
}

func checkToolchain(s *stack.Stack) finding {
	if !s.ToolchainBuilt() {
		return finding{"dapr", false, "not built for the present sources", "run `quad build` (some minutes)"}
	}
	return finding{"dapr", true, stack.DaprVersion, ""}
}

func checkServices(s *stack.Stack) finding {
	if missing := s.Unbuilt(); len(missing) > 0 {
		return finding{"services", false, "not built: " + strings.Join(missing, ", "), "run `quad build`"}
	}
	return finding{"services", true, "built", ""}
}

// checkParts takes a stack that is wholly down for well: then only the ports
// matter.
func checkParts(parts []stack.PartStatus) []finding {
	up := 0
	for _, p := range parts {
		if p.PID != 0 {
			up++
		}
	}
	var findings []finding
	for _, p := range parts {
		environment, isEnvironment := errors.AsType[*stack.EnvironmentError](p.Fault)
		switch {
		case isEnvironment:
			findings = append(findings, finding{p.Part, false, environment.Problem, environment.Remedy})
		case p.Fault != nil:
			findings = append(findings, finding{p.Part, false, p.Fault.Error(), "see its log; `quad down` and `quad up` start it again"})
		case p.PID != 0:
			findings = append(findings, finding{p.Part, true, fmt.Sprintf("ready at %s, pid %d", p.Address, p.PID), ""})
		case p.External:
			findings = append(findings, finding{p.Part, true, "answers at " + p.Address, ""})
		case up > 0:
			findings = append(findings, finding{p.Part, false, "not running", "`quad up` starts it"})
		default:
			findings = append(findings, finding{p.Part, true, p.Address + " is free", ""})
		}
	}
	return findings
}

func printFindings(findings []finding) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		mark := paint(os.Stdout, green, "ok")
		if !f.OK {
			mark = paint(os.Stdout, red, "fault")
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", f.Check, mark, f.Detail)
		if f.Remedy != "" {
			fmt.Fprintf(table, "\t\t-> %s\n", f.Remedy)
		}
	}
	return table.Flush()
}
