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
		skipBuild, oneProcess, trace bool

		broker, relay     string
		replicas, brokers int
	)
	cmd := &cobra.Command{
		Use:   "up [SERVICE...]",
		Short: "Build and start what is not running yet",
		Long: `up builds what changed, starts PostgreSQL, Redis, Dapr's control plane, the stand-ins for
third parties and the services with their sidecars, and returns when all are ready. It may be repeated: it starts only what is missing, a single service that was
killed, for example.

With names it starts these services alone, and what they need. What others would hear
stays with the broker; in one process it is not kept.

With --one-process all services run in one process, on PostgreSQL alone: no Dapr, no
broker. Databases and addresses are the same.

With --broker kafka --brokers 3 Kafka is as in production: three brokers, of which one may
be lost, TLS, and for each service a user of its own who may use only the topics that the
service declares.

With --replicas N each service and its sidecar run N times, as in production. A balancer
has the public ports and hands connections to replicas that are ready; services find each
other's replicas by name. The first replica is called like its service, others order-2,
order-3.

With --trace it also starts a collector, which keeps the newest traces of the services
below .local/traces; quad order show ID --trace draws them. It must be said when the
services start, as they are told then.`,
		RunE: func(cmd *cobra.Command, services []string) error {
			if oneProcess {
				broker = stack.OneProcess
			}
			s, err := stack.New(stack.Options{Dir: g.dir, Broker: broker, Brokers: brokers, Relay: relay, Services: services, Trace: trace, Replicas: replicas, Report: newProgress(os.Stdout, g.JSON).report})
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
	cmd.Flags().StringVar(&relay, "relay", "", `what publishes the outboxes: "outbox" (the services) or "debezium" (Kafka Connect reads
them by logical decoding; with --broker kafka); default: the one in use, else outbox`)
	cmd.Flags().IntVar(&brokers, "brokers", 0, "with --broker kafka: 1 or 3 (default: those in use, else 1)")
	cmd.Flags().BoolVar(&oneProcess, "one-process", false, "all services in one process, without Dapr and broker")
	cmd.MarkFlagsMutuallyExclusive("one-process", "broker")
	cmd.MarkFlagsMutuallyExclusive("one-process", "relay")
	cmd.Flags().IntVar(&replicas, "replicas", 0, "of each service, 3 at most, on Dapr only (default: as many as are in use, else 1)")
	cmd.MarkFlagsMutuallyExclusive("one-process", "replicas")
	cmd.Flags().BoolVar(&trace, "trace", false, "keep traces, for quad order show ID --trace")
	cmd.Flags().BoolVar(&skipBuild, "skip-build", false, "start the binaries as they are")
	return cmd
}
