package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"
)

// A table is printed in columns as wide as their widest cell. Cells may be painted,
// which text/tabwriter would count as width.
type table struct {
	right []int // columns of numbers
	rows  [][]string
}

func newTable(head ...string) *table {
	for i, h := range head {
		head[i] = paint(os.Stdout, faint, h)
	}
	return &table{rows: [][]string{head}}
}

// alignRight is for columns of numbers, counted from 0.
func (t *table) alignRight(columns ...int) *table {
	t.right = columns
	return t
}

func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.rows = append(t.rows, row)
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

func width(cell string) int { return utf8.RuneCountInString(escapes.ReplaceAllString(cell, "")) }

func (t *table) print(w io.Writer) {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], width(cell))
		}
	}
	onRight := make(map[int]bool)
	for _, i := range t.right {
		onRight[i] = true
	}
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-width(cell))
			if onRight[i] {
				cell, pad = pad+cell, ""
			}
			line.WriteString(cell + pad + "  ")
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// grouped writes a number with commas between thousands: 1,234,567.89.
func grouped[T string | int | int64](v T) string {
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
