package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"quadrille.internal/quad/api"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
)

func newParked(g *Globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "parked",
		Short: "See, replay and discard events that a service could not handle",
		Long: `An event that a service cannot handle is parked in its database, so that it blocks no
other. Mend the cause, then replay it: it keeps its id and its trace, and has its
effect once. Discard what is worth nothing.

Where many different events fail, or the fault is the service's, it parks nothing: it
has them delivered again and is not ready until they succeed. accept has them parked
all the same.`,
		Args: NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newParkedList(g), newParkedShow(g), writes(newParkedReplay(g)), writes(newParkedDiscard(g)), writes(newParkedAccept(g)))
	return cmd
}

func newParkedList(g *Globals) *cobra.Command {
	var service string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List parked events; exits 1 when there are any",
		Example: "  quad parked list --service order",
		Args:    NoArgs,
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, _ []string) error {
			parked, notes, err := listParked(cmd.Context(), inst, service)
			if err != nil {
				return err
			}
			if g.JSON {
				err = output.JSON(os.Stdout, parked)
			} else {
				printParked(parked)
			}
			for _, note := range notes {
				fmt.Fprintln(os.Stderr, note)
			}
			if err == nil && len(parked)+len(notes) > 0 {
				return Unwell{Err: errors.New("events are parked"), Said: true}
			}
			return err
		}),
	}
	cmd.Flags().StringVar(&service, "service", "", "of this service only")
	return cmd
}

const (
	listedMost   = 1_000 // of each service
	replayedPage = 100
)

// selectAdmins returns the services' admin ports by name; only that of one service, unless
// that is "".
func selectAdmins(inst *installation.Installation, only string) (names []string, admins map[string]*api.Admin, err error) {
	admins = make(map[string]*api.Admin)
	for _, name := range inst.WithDatabase() {
		if only == "" || only == name {
			names = append(names, name)
			admins[name] = inst.Admin(name)
		}
	}
	if len(names) == 0 {
		return nil, nil, UsageError{fmt.Errorf("there is no service %q; there are %v", only, inst.WithDatabase())}
	}
	return names, admins, nil
}

// listParked returns the first parked events of each service, and what else must be
// known of them.
func listParked(ctx context.Context, inst *installation.Installation, service string) (all []api.Parked, notes []string, err error) {
	names, admins, err := selectAdmins(inst, service)
	if err != nil {
		return nil, nil, err
	}
	all = []api.Parked{}
	for _, name := range names {
		page, err := admins[name].Parked(ctx, "", listedMost)
		if err != nil {
			return nil, nil, fmt.Errorf("list the parked events of %s: %w", name, err)
		}
		all = append(all, page.Parked...)
		if page.Next != "" {
			notes = append(notes, fmt.Sprintf("%s has more parked events than the %d listed", name, listedMost))
		}
		if page.Stopped != "" {
			notes = append(notes, fmt.Sprintf("%s parks nothing now: %s", name, page.Stopped))
		}
	}
	return all, notes, nil
}

func printParked(parked []api.Parked) {
	if len(parked) == 0 {
		fmt.Println("nothing is parked")
		return
	}
	t := output.NewTable("SERVICE", "EVENT", "TOPIC", "PARKED", "TRIES", "CAUSE").AlignRight(4)
	for _, p := range parked {
		t.Add(p.Consumer, p.EventID, p.Topic, p.ParkedAt.Local().Format("2006-01-02 15:04:05"), p.Attempts, firstLine(p.Cause))
	}
	t.Print(os.Stdout)
}

func firstLine(text string) string {
	const most = 100
	line, _, _ := strings.Cut(text, "\n")
	if r := []rune(line); len(r) > most {
		return string(r[:most]) + "…"
	}
	return line
}

func newParkedShow(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show a parked event whole, with its cause",
		Example: "  quad parked show 019aa0c2-6f0e-7d51-b1a7-1e1e4c0e9d3a",
		Args:    Exactly("ID"),
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, args []string) error {
			id, err := parseID("event", args[0])
			if err != nil {
				return err
			}
			found, err := findParked(cmd.Context(), inst, id)
			if err != nil {
				return err
			}
			if g.JSON {
				return output.JSON(os.Stdout, found)
			}
			for _, p := range found {
				printParkedEvent(p)
			}
			return nil
		}),
	}
}

// findParked looks for an event at every service: several may have parked it.
func findParked(ctx context.Context, inst *installation.Installation, id uuid.UUID) ([]api.Parked, error) {
	names, admins, err := selectAdmins(inst, "")
	if err != nil {
		return nil, err
	}
	var found []api.Parked
	for _, name := range names {
		p, err := admins[name].ParkedEvent(ctx, id)
		if api.IsProblem(err, "not_parked") {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("ask %s for event %s: %w", name, id, err)
		}
		found = append(found, p)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no service has parked event %s; `quad parked list` names those that are", id)
	}
	return found, nil
}

func printParkedEvent(p api.Parked) {
	fmt.Printf("event    %s, parked by %s\n", p.EventID, p.Consumer)
	fmt.Printf("topic    %s\n", p.Topic)
	fmt.Printf("trace    %s\n", p.TraceParent)
	fmt.Printf("parked   %s, tried %d times, last at %s\n", p.ParkedAt.Local().Format("2006-01-02 15:04:05"),
		p.Attempts, p.TriedAt.Local().Format("15:04:05"))
	fmt.Printf("cause    %s\n", output.Paint(os.Stdout, output.Red, p.Cause))
	var pretty bytes.Buffer
	if json.Indent(&pretty, p.Payload, "", "  ") != nil {
		fmt.Printf("payload  %q (not JSON)\n", p.Payload)
		return
	}
	fmt.Printf("payload\n%s\n", pretty.String())
}
