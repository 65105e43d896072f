package main

import (
	"os"
	"strings"
	"testing"

	"quadrille.internal/events"
)

func TestParseLine(t *testing.T) {
	for text, want := range map[string]events.Line{
		"A1=3@250": {SKU: "A1", Quantity: 3, UnitPrice: 250},
		"A-1=1@0":  {SKU: "A-1", Quantity: 1},
	} {
		if got, err := parseLine(text); err != nil || got != want {
			t.Errorf("%s is read as %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "A1", "A1=3", "A1@3", "=3@250", "A1=x@1", "A1=1@2.50", "A1=1@"} {
		if got, err := parseLine(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

func TestParseCounts(t *testing.T) {
	counts, err := parseCounts([]string{"A1", "leeds=3", "bristol=0"})
	if err != nil || len(counts) != 2 || counts[0].Warehouse != "leeds" || counts[0].OnHand != 3 {
		t.Errorf("counts are %v, %v", counts, err)
	}
	for _, args := range [][]string{nil, {"A1"}, {"A1", "leeds"}, {"A1", "=3"}, {"A1", "leeds=x"}} {
		if _, err := parseCounts(args); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}

func TestGrouped(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "999": "999", "1000": "1,000", "1234567.89": "1,234,567.89", "-325.23": "-325.23", "-1325.235": "-1,325.235",
	} {
		if got := grouped(text); got != want {
			t.Errorf("%s is written %s, want %s", text, got, want)
		}
	}
}

// Painted cells take no more room than they show.
func TestTableColumns(t *testing.T) {
	tab := &table{rows: [][]string{{"A", "N"}}}
	tab.alignRight(1)
	tab.add(green+"long"+plain, 5)
	tab.add("é", 1000)
	var out strings.Builder
	tab.print(&out)
	want := "A        N\n" + green + "long" + plain + "     5\né     1000\n"
	if out.String() != want {
		t.Errorf("the table is\n%q, want\n%q", out.String(), want)
	}
}

func TestBarLeavesOneLine(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	b := newBar(file, "orders placed", 2)
	b.start()
	b.advance()
	b.advance()
	b.end()
	text, err := os.ReadFile(file.Name())
	if err != nil || strings.Count(string(text), "\n") != 1 || !strings.Contains(string(text), "2 of 2") {
		t.Errorf("the bar left %q, %v", text, err)
	}
}
