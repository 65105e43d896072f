// Package output prints what commands found: tables, progress bars and colours for
// people, JSON for programs.
package output

import (
	"encoding/json"
	"io"
	"os"
)

// OnTerminal reports whether a file is a terminal, which may show colours and
// lines that change.
func OnTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

// Colours for Paint.
const (
	Green  = "\x1b[32m"
	Yellow = "\x1b[33m"
	Red    = "\x1b[31m"
	Faint  = "\x1b[2m"
	Bold   = "\x1b[1m"
	plain  = "\x1b[0m"
)

// Paint colours text for f, unless f is not a terminal or the user said no.
func Paint(f *os.File, colour, text string) string {
	if os.Getenv("NO_COLOR") != "" || !OnTerminal(f) {
		return text
	}
	return colour + text + plain
}

// JSON writes a command's result for programs.
func JSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
