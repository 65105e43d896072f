package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"quadrille.internal/local/bench"
	"quadrille.internal/local/sizing"
	"quadrille.internal/quad/command"
	"quadrille.internal/quad/output"
)

func newSize(g *globals) *cobra.Command {
	var perMinute float64
	var from string
	a := sizing.Usual()
	cmd := &cobra.Command{
		Use:   "size",
		Short: "Reckon what a number of orders a minute needs, from the figures of the last benchmark",
		Long: `size reckons replicas, partitions, databases, brokers and cost from what the last benchmarks of
` + sizing.Small + `, ` + sizing.Middle + ` and ` + sizing.Large + ` on Dapr have measured, and shows how far such a reckoning is off where it can be
compared with a measurement. docs/sizing.md says what is assumed; flags change that.`,
		Example: `  quad bench --scenario steady,steady-50,steady-500 --no-bare-dapr
  quad size --orders-per-minute 150000`,
		Args: command.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if perMinute <= 0 || a.Used <= 0 || a.Used > 1 || min(a.Replication, a.BrokerMBs, a.PrimaryCores, a.PrimaryWALMBs, a.PodCores) <= 0 {
				return command.UsageError{Err: errors.New("every number is more than 0, and --cpu-used is 1 at most")}
			}
			if from == "" {
				s, err := g.open(nil)
				if err != nil {
					return err
				}
				from = filepath.Join(s.Dir, "bench", "latest.json")
			}
			return size(g, from, perMinute, a)
		},
	}
	flags := cmd.Flags()
	flags.Float64Var(&perMinute, "orders-per-minute", 150_000, "orders to be settled a minute")
	flags.StringVar(&from, "figures", "", "the file of results (default: that of the last benchmark)")
	flags.Float64Var(&a.Used, "cpu-used", a.Used, "share of its cores that a part may use")
	flags.Float64Var(&a.PodCores, "pod-cores", a.PodCores, "cores that a service may take in a pod, and its sidecar too")
	flags.Float64Var(&a.Replication, "replication", a.Replication, "copies of an event in Kafka")
	flags.Float64Var(&a.RetentionDays, "retention-days", a.RetentionDays, "days that Kafka keeps events")
	flags.Float64Var(&a.BrokerMBs, "broker-mb", a.BrokerMBs, "megabytes a second that one broker takes")
	flags.Float64Var(&a.PrimaryCores, "primary-cores", a.PrimaryCores, "cores of one PostgreSQL primary")
	flags.Float64Var(&a.PrimaryWALMBs, "primary-wal-mb", a.PrimaryWALMBs, "megabytes of WAL that one primary writes a second")
	return cmd
}

func size(g *globals, from string, perMinute float64, a sizing.Assumptions) error {
	results, err := bench.ReadResults(from)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there are no figures at %s: run `quad bench --scenario %s,%s,%s --no-bare-dapr` first", from, sizing.Large, sizing.Small, sizing.Middle)
	}
	if err != nil {
		return err
	}
	m, err := sizing.Read(results)
	if err != nil {
		return err
	}
	checks, err := sizing.Checks(results)
	if err != nil {
		return err
	}
	plan := m.Size(perMinute, a)
	if g.JSON {
		return output.JSON(os.Stdout, struct {
			sizing.Plan
			Checks []sizing.Check `json:"checks"`
		}{plan, checks})
	}
	printPlan(m, plan, checks)
	return nil
}

func printPlan(m *sizing.Model, p sizing.Plan, checks []sizing.Check) {
	fmt.Printf("%.0f orders a minute, %.0f a second; batches of %.0f events, cores used to %.0f %%\n\n", p.OrdersPerMinute, p.OrdersPerMinute/60, m.Batch, 100*p.Assumptions.Used)
	pods := output.NewTable("SERVICE", "REPLICAS", "CPU ms/ORDER", "SIDECAR ms").AlignRight(1, 2, 3)
	for _, s := range p.Services {
		pods.Add(s.Name, s.Replicas, fmt.Sprintf("%.2f", s.MSService), fmt.Sprintf("%.2f", s.MSSidecar))
	}
	pods.Print(os.Stdout)
	fmt.Println()
	needs := output.NewTable("NEEDS", "").AlignRight(1)
	needs.Add("partitions of a topic", p.Partitions)
	needs.Add("brokers", p.Brokers)
	needs.Add("into Kafka, MB/s", fmt.Sprintf("%.1f", p.KafkaInMBs))
	needs.Add("out of Kafka, MB/s", fmt.Sprintf("%.1f", p.KafkaOutMBs))
	needs.Add(fmt.Sprintf("kept by Kafka for %.0f days, GB", p.Assumptions.RetentionDays), fmt.Sprintf("%.0f", p.KafkaGB))
	needs.Add("cores of all primaries", fmt.Sprintf("%.0f", p.DatabaseCores))
	needs.Add("WAL of all primaries, MB/s", fmt.Sprintf("%.1f", p.WALMBs))
	needs.Add("shards of the busiest database", p.Shards)
	needs.Add("dollars a month, by the prices assumed", fmt.Sprintf("%.0f", p.DollarsMonth))
	needs.Print(os.Stdout)
	fmt.Println()
	limits := output.NewTable("ONE OF IT SUFFICES", "UP TO ORDERS A MINUTE").AlignRight(1)
	for _, l := range p.Limits {
		limits.Add(l.What, fmt.Sprintf("%.0f", l.OrdersPerMinute))
	}
	limits.Print(os.Stdout)
	fmt.Println()
	table := output.NewTable("CHECKED AGAINST", "RECKONED", "MEASURED", "OFF BY").AlignRight(1, 2, 3)
	for _, c := range checks {
		table.Add(c.What, fmt.Sprintf("%.2f", c.Reckoned), fmt.Sprintf("%.2f", c.Measured), fmt.Sprintf("%+.0f %%", 100*c.Deviation))
	}
	table.Print(os.Stdout)
}
