package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"quadrille.internal/local/deploycheck"
	"quadrille.internal/local/stack"
	"quadrille.internal/quad/command"
	"quadrille.internal/quad/output"
)

func newDeploy(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deploy",
		Short: "Work on the manifests of deploy/, without a cluster",
		Args:  command.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDeployCheck(g))
	return cmd
}

func newDeployCheck(g *globals) *cobra.Command {
	var overlay string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Hold the manifests against a real API server and what the services declare",
		Long: `check renders deploy/ with kustomize, once for each environment, and reports what would
go wrong in a cluster:

  - what an API server refuses: it starts etcd and kube-apiserver on ports of their own,
    with the CRDs of Dapr, Argo, KEDA, External Secrets and the Prometheus operator, has
    them decode and validate each object, and admit the pods of each template as their
    namespace wants it (Pod Security Standards)
  - what is named and is not there: ConfigMaps, Secrets and their keys, ServiceAccounts,
    ports, analysis templates, targets of autoscalers, app ids
  - what the services do not have or do not declare: ports, paths of probes, topics,
    settings, scopes, access control, and network policies that forbid what a declaration
    says or allow what none does
  - what Argo CD could not apply or would delete too soon: kinds and namespaces of its
    projects, sync waves, settings that pods of the release before still start with
  - pods that nobody could replace in peace: probes, preStop and the time for their end,
    budgets, two autoscalers for one workload, metrics that Prometheus does not read
  - values that Dapr's chart does not have, annotations that its injector does not read, and
    pods that it would pass over
  - queries of roll-outs, autoscalers and alerts for metrics and labels that no service
    tells, and more connections than the database server takes or has memory for
  - what the OpenTelemetry Collector refuses in its configuration

It needs no cluster and changes none. The programs of Kubernetes and the collector are
built from their Go modules, once for each version (some 13 minutes), and stay in
.local/kubernetes.

Exit code 1: there are faults, each with file, object, field and what to do. 2: there is no
such overlay.`,
		Example: "  quad deploy check\n  quad deploy check --overlay production --json",
		Args:    command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := newProgress(os.Stderr, false)
			s, err := g.open(p.report)
			if err != nil {
				return err
			}
			if err := s.BuildKubernetes(cmd.Context(), stack.KubernetesAPI, stack.Collector); err != nil {
				return err
			}
			r, err := deploycheck.Run(cmd.Context(), deploycheck.Config{
				Root: s.Root, Kubernetes: s.KubernetesTool("kubernetes"), Collector: s.KubernetesTool("collector"), Overlay: overlay,
				Step: func(what string) { p.report(stack.Event{Part: "deploy", State: stack.Note, Detail: what}) },
			})
			switch {
			case errors.Is(err, deploycheck.ErrNoOverlay):
				return command.UsageError{Err: err}
			case err != nil:
				return err
			case g.JSON:
				err = output.JSON(os.Stdout, r)
			default:
				printDeployReport(r)
			}
			if err == nil && len(r.Faults) > 0 {
				err = command.Unwell{Err: errors.New("deploy/ has faults"), Said: true}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&overlay, "overlay", "", "look at this environment only, such as production (default: all)")
	return cmd
}

func printDeployReport(r *deploycheck.Report) {
	for _, f := range r.Faults {
		where := f.File
		if f.Environment != "" {
			where += " (" + f.Environment + ")"
		}
		fmt.Printf("\n%s  %s\n", output.Paint(os.Stdout, output.Red, "fault"), where)
		for _, line := range []string{f.Object, f.Field, f.Problem, "-> " + f.Remedy} {
			if line != "" {
				fmt.Println("       " + strings.ReplaceAll(line, "\n", "\n       "))
			}
		}
	}
	if len(r.Unseen) > 0 {
		fmt.Printf("\n%s\n", output.Paint(os.Stdout, output.Yellow,
			"not checked field by field, as no Go module brings the CRD: "+strings.Join(r.Unseen, ", ")))
	}
	fmt.Printf("\n%d objects and %d pod templates of %s: %d faults\n",
		r.Objects, r.Pods, strings.Join(r.Environments, ", "), len(r.Faults))
}
