package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"quadrille.internal/local/stack"
)

func newUp(g *globals) *cobra.Command {
	var (
		skipBuild, oneProcess bool
		broker                string
	)
	cmd := &cobra.Command{
		Use:   "up [SERVICE...]",
		Short: "Build and start what is not running yet",
		Long: `up builds what changed, starts PostgreSQL, Redis, Dapr's control plane, the payment
provider's stand-in and the services with their sidecars, and returns when all are
ready. It may be repeated: it starts only what is missing, a single service that was
killed, for example.

With names it starts these services alone, and what they need. What others would hear
stays with the broker; in one process it is not kept.

With --one-process all services run in one process, on PostgreSQL alone: no Dapr, no
broker. Databases and addresses are the same.`,
		RunE: func(cmd *cobra.Command, services []string) error {
			if oneProcess {
				broker = stack.OneProcess
			}
			s, err := stack.New(stack.Options{Dir: g.dir, Broker: broker, Services: services, Report: newProgress(os.Stdout, g.JSON).report})
			if err != nil {
				return err
			}
			steps := []func(context.Context) error{s.BuildToolchain, s.Build, s.Up}
			if skipBuild {
				steps = steps[2:]
			}
			for _, step := range steps {
				if err := step(cmd.Context()); err != nil {
					return err
				}
			}
			if !g.JSON {
				fmt.Printf("\nQuadrille is up. Logs are in %s; `quad down` stops it.\n", s.LogDir())
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&broker, "broker", "", `"local" (Redis) or "kafka" (a broker of its own on Java 17, fetched with Maven, or
the cluster named by QUADRILLE_KAFKA_BROKERS); default: the one in use, else local`)
	cmd.Flags().BoolVar(&oneProcess, "one-process", false, "all services in one process, without Dapr and broker")
	cmd.MarkFlagsMutuallyExclusive("one-process", "broker")
	cmd.Flags().BoolVar(&skipBuild, "skip-build", false, "start the binaries as they are")
	return cmd
}
