package output

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"
)

// A Table is printed in columns as wide as their widest cell. Cells may be painted,
// which text/tabwriter would count as width.
type Table struct {
	right []int // columns of numbers
	rows  [][]string
}

// NewTable returns a table with a line of headings.
func NewTable(head ...string) *Table {
	for i, h := range head {
		head[i] = Paint(os.Stdout, Faint, h)
	}
	return &Table{rows: [][]string{head}}
}

// AlignRight is for columns of numbers, counted from 0.
func (t *Table) AlignRight(columns ...int) *Table {
	t.right = columns
	return t
}

// Add adds a row.
func (t *Table) Add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.rows = append(t.rows, row)
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

// Width is how many columns a cell takes on a screen.
func Width(cell string) int { return utf8.RuneCountInString(escapes.ReplaceAllString(cell, "")) }

// Print writes the table.
func (t *Table) Print(w io.Writer) {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], Width(cell))
		}
	}
	onRight := make(map[int]bool)
	for _, i := range t.right {
		onRight[i] = true
	}
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-Width(cell))
			if onRight[i] {
				cell, pad = pad+cell, ""
			}
			line.WriteString(cell + pad + "  ")
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// Grouped writes a number with commas between thousands: 1,234,567.89.
func Grouped[T string | int | int64](v T) string {
	text := fmt.Sprint(v)
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign, text = "-", text[1:]
	}
	whole, decimals, hasDecimals := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if hasDecimals {
		whole += "." + decimals
	}
	return sign + whole
}
