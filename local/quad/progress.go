package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"quadrille.internal/local/stack"
	"quadrille.internal/quad/output"
)

// A progress prints the events of a stack as they come: lines for people, or one
// JSON object a line.
type progress struct {
	out      *os.File
	asJSON   bool
	open     bool                     // a line that is still being rewritten
	lastSaid map[string]time.Duration // by part, when there is no terminal
}

func newProgress(out *os.File, asJSON bool) *progress {
	return &progress{out: out, asJSON: asJSON, lastSaid: map[string]time.Duration{}}
}

// Where lines can't be rewritten, a step is mentioned once it turns out not to be
// a short one, and then now and again.
const (
	noticeable = 2 * time.Second
	quietly    = 15 * time.Second
)

func (p *progress) report(e stack.Event) {
	if p.asJSON {
		if e.State != stack.Building {
			_ = json.NewEncoder(p.out).Encode(e) // nowhere left to report to
		}
		return
	}
	if e.State == stack.Building {
		p.building(e)
		return
	}
	p.closeLine()
	fmt.Fprintln(p.out, p.line(e))
}

func (p *progress) building(e stack.Event) {
	if output.OnTerminal(p.out) {
		fmt.Fprintf(p.out, "\r\x1b[K%s", p.line(e))
		p.open = true
		return
	}
	if last, said := p.lastSaid[e.Part]; e.Took < noticeable || said && e.Took-last < quietly {
		return
	}
	p.lastSaid[e.Part] = e.Took
	fmt.Fprintln(p.out, p.line(e))
}

func (p *progress) closeLine() {
	if p.open {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.open = false
	}
}

func (p *progress) line(e stack.Event) string {
	colour := map[stack.State]string{
		stack.Running: output.Faint, stack.Note: output.Yellow, stack.Building: output.Yellow,
	}[e.State]
	if colour == "" {
		colour = output.Green
	}
	line := fmt.Sprintf("  %-16s %s  %s", e.Part, output.Paint(p.out, colour, fmt.Sprintf("%-8s", e.State)), e.Detail)
	if e.Took > 0 {
		line += output.Paint(p.out, output.Faint, fmt.Sprintf("  %.1f s", e.Took.Seconds()))
	}
	return line
}
