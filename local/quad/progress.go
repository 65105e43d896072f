package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"quadrille.internal/local/stack"
)

// onTerminal reports whether a file is a terminal, which may show colours and
// lines that change.
func onTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

const (
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	faint  = "\x1b[2m"
	plain  = "\x1b[0m"
)

// paint colours text for f, unless f is not a terminal or the user said no.
func paint(f *os.File, colour, text string) string {
	if os.Getenv("NO_COLOR") != "" || !onTerminal(f) {
		return text
	}
	return colour + text + plain
}

func paintErr(err error) string { return paint(os.Stderr, red, err.Error()) }

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
	if onTerminal(p.out) {
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
		stack.Running: faint, stack.Note: yellow, stack.Building: yellow,
	}[e.State]
	if colour == "" {
		colour = green
	}
	line := fmt.Sprintf("  %-16s %s  %s", e.Part, paint(p.out, colour, fmt.Sprintf("%-8s", e.State)), e.Detail)
	if e.Took > 0 {
		line += paint(p.out, faint, fmt.Sprintf("  %.1f s", e.Took.Seconds()))
	}
	return line
}

// printJSON writes a command's result for programs.
func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
