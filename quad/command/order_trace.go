package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
	"quadrille.internal/quad/traces"
)

var errNoTraces = errors.New("this installation has no collector that quad reads: start the local stack with quad up --trace, " +
	"or set traces in the context")

// readTrace returns the tree of a trace.
func readTrace(ctx context.Context, inst *installation.Installation, traceID string) ([]*traces.Node, error) {
	if inst.Traces == "" {
		return nil, errNoTraces
	}
	spans, err := traces.Read(ctx, inst.Traces, traceID)
	if err != nil {
		return nil, err
	}
	return traces.Tree(traceID, spans)
}

func printTrace(tree []*traces.Node) {
	list := output.NewTable("AFTER", "TOOK", "SERVICE", "STEP").AlignRight(0, 1)
	began := tree[0].Begin
	var add func(nodes []*traces.Node, indent string)
	add = func(nodes []*traces.Node, indent string) {
		for i, n := range nodes {
			branch, below := "├─ ", "│  "
			if i == len(nodes)-1 {
				branch, below = "└─ ", "   "
			}
			list.Add(milliseconds(n.Begin.Sub(began)), milliseconds(n.End.Sub(n.Begin)), n.Service, indent+branch+describeSpan(n))
			add(n.Children, indent+below)
		}
	}
	add(tree, "")
	list.Print(os.Stdout)
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

func describeSpan(n *traces.Node) string {
	text := n.Name
	var notes []string
	for _, attr := range []string{"messaging.batch.message_count", "quadrille.batch.size"} {
		if size := n.Attrs[attr]; size != "" && size != "1" {
			notes = append(notes, "batch of "+size)
		}
	}
	if n.Linked {
		notes = append(notes, "in the trace of another order")
	}
	if len(notes) > 0 {
		text += output.Paint(os.Stdout, output.Faint, " ("+strings.Join(notes, ", ")+")")
	}
	if n.Failed {
		text = output.Paint(os.Stdout, output.Red, text)
	}
	return text
}
