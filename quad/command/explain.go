package command

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"quadrille.internal/quad/components"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
)

func newExplain(g *Globals) *cobra.Command {
	var folder string
	cmd := &cobra.Command{
		Use:   "explain [TOPIC]",
		Short: "Say what a subscriber of a topic gets: order, retries, the end, retention",
		Long: `explain reads a folder of Dapr component files and prints what these, and the services'
declarations, mean for one topic: who emits and hears it, in which order it comes, how often
it is tried, where it ends, when it comes again, how long it is kept, and how another system
subscribes. Without TOPIC it lists the topics.

In a checkout it reads the files of the stack that is in use; with --components any others,
those of a cluster for example.`,
		Example: `  quad explain
  quad explain order.confirmed
  quad explain order.confirmed --components components/kafka --json | jq .redelivered_after`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return UsageError{fmt.Errorf("%s takes one topic, got %v", cmd.CommandPath(), args)}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := g.components(folder)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return explainAll(g, f)
			}
			e, err := f.Explain(args[0])
			switch {
			case errors.Is(err, components.ErrNoTopic):
				return UsageError{fmt.Errorf("%w; quad explain lists those that there are", err)}
			case err != nil:
				return err
			case g.JSON:
				return output.JSON(os.Stdout, e)
			}
			printExplanation(e)
			return nil
		},
	}
	cmd.Flags().StringVar(&folder, "components", "", "the folder of component files (default: that of the stack in use)")
	return cmd
}

// components reads the folder, or the one in force.
func (g *Globals) components(folder string) (*components.Folder, error) {
	if folder == "" {
		if g.opts.Components == nil {
			return nil, UsageError{errors.New("name the folder of component files with --components")}
		}
		var err error
		if folder, err = g.opts.Components(); err != nil {
			return nil, err
		}
	}
	f, err := components.Read(folder)
	if err != nil {
		return nil, &installation.EnvironmentError{Problem: err.Error(), Remedy: "name a folder such as components/kafka with --components"}
	}
	return f, nil
}

func explainAll(g *Globals, f *components.Folder) error {
	list, err := f.List()
	if err != nil {
		return err
	}
	if g.JSON {
		return output.JSON(os.Stdout, list)
	}
	table := output.NewTable("topic", "about", "emitted by", "heard by")
	for _, e := range list {
		if !e.DeadLetter {
			table.Add(e.Topic, e.About, strings.Join(e.EmittedBy, ", "), heard(e))
		}
	}
	table.Print(os.Stdout)
	return nil
}

func heard(e components.Explanation) string {
	apps := make([]string, len(e.HeardBy))
	for i, s := range e.HeardBy {
		apps[i] = s.App
	}
	return strings.Join(apps, ", ")
}

func printExplanation(e components.Explanation) {
	table := output.NewTable(e.Topic, "on "+e.Broker)
	say := func(what, text string) { table.Add(what, text) }
	if e.About != "" {
		say("is about", "one "+e.About+" ("+e.Schema+")")
	}
	say("emitted by", orNobody(e.EmittedBy))
	if len(e.MayEmit) > 0 {
		say("", "also allowed: "+strings.Join(e.MayEmit, ", ")+", for what the release before left")
	}
	say("published once", written(e))
	say("order", orderOf(e))
	say("batches", fmt.Sprintf("up to %d events, after %s at most", e.Batch.Most, e.Batch.Wait))
	say("comes again", redelivered(e))
	say("kept", kept(e))
	say("a new group", "begins with "+e.From)
	table.Print(os.Stdout)
	printSubscribers(e)
	printOutside(e)
}

func printSubscribers(e components.Explanation) {
	if len(e.HeardBy) == 0 {
		fmt.Println("\nNo service hears it.")
		return
	}
	fmt.Println()
	table := output.NewTable("heard by", "group", "not taken", "in the end")
	for _, s := range e.HeardBy {
		table.Add(s.App, s.Group, retries(s), end(e, s))
	}
	table.Print(os.Stdout)
	fmt.Printf("After %d different events that fail one after another none is parked: they come again until that is mended.\n", e.ParkingStopsAfter)
}

func orNobody(list []string) string {
	if len(list) == 0 {
		return "nobody"
	}
	return strings.Join(list, ", ")
}

func written(e components.Explanation) string {
	switch {
	case e.Broker == components.Redis:
		return "Redis has appended it to the stream"
	case e.Written.InSync > 0 && e.Written.Acks == "all":
		return fmt.Sprintf("%d of %d replicas have it (acks=all)", e.Written.InSync, e.Written.Replicas)
	}
	return "acks=" + e.Written.Acks
}

func orderOf(e components.Explanation) string {
	if e.Broker == components.Redis {
		return fmt.Sprintf("none: %d at once", e.AtOnce)
	}
	partitions := "its partition"
	if e.Partitions > 0 {
		partitions = "one of " + strconv.Itoa(e.Partitions) + " partitions"
	}
	return "as written within " + partitions + ", by key (the " + e.Key + "); rely on none, for a repeat comes later"
}

func redelivered(e components.Explanation) string {
	w := e.RedeliveredAfter
	switch {
	case w.From == "":
		return "never: what a killed subscriber had taken is lost to it"
	case w.From == w.To:
		return "what a killed subscriber had taken, after " + w.To
	}
	return "what a killed subscriber had taken, after " + w.From + " to " + w.To
}

func kept(e components.Explanation) string {
	if e.Retention == "" {
		return "as the broker has it; services know an id for " + e.Remembered
	}
	return "for " + e.Retention + ", handled or not; services know an id for " + e.Remembered
}

func retries(s components.Subscriber) string {
	r := s.Retry
	if r.Policy == "none" {
		return "not tried again"
	}
	every := "again every " + r.Every
	if r.Policy == "exponential" {
		every = "again after " + r.Every + ", then more and more slowly, up to " + r.Most
	}
	if r.Times < 0 {
		return every + ", without end"
	}
	return fmt.Sprintf("%s, %d times", every, r.Times)
}

// end is what becomes of an event that is never handled.
func end(e components.Explanation, s components.Subscriber) string {
	parks := "parked in its database: quad parked list"
	switch {
	case e.DeadLetter || s.Retry.Times < 0 && s.Retry.Policy == "constant":
		return parks
	case s.DeadLetter != "":
		return parks + "; from " + s.DeadLetter + " too"
	}
	return parks + "; what it did not take is lost to it"
}

func printOutside(e components.Explanation) {
	if e.DeadLetter {
		return
	}
	fmt.Printf(`
Another system APP, with a copy of pubsub.yaml in which operators add
  scopes              APP
  subscriptionScopes  APP=%s
  publishingScopes    APP=
subscribes by Dapr the ordinary way, or takes the complete CloudEvent (structured JSON) from
`, e.Topic)
	if e.Broker == components.Redis {
		fmt.Printf("  Redis               XREADGROUP GROUP APP ... STREAMS %s >, field data\n", e.Topic)
		return
	}
	fmt.Printf(`  Kafka               topic %s, the record's value
  its user needs      Read and Describe on the topic, Read on the group APP
`, e.Topic)
}
