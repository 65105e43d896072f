package output

import (
	"os"
	"strings"
	"testing"
)

func TestGrouped(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "999": "999", "1000": "1,000", "1234567.89": "1,234,567.89", "-325.23": "-325.23", "-1325.235": "-1,325.235",
	} {
		if got := Grouped(text); got != want {
			t.Errorf("%s is written %s, want %s", text, got, want)
		}
	}
}

// Painted cells take no more room than they show.
func TestTableColumns(t *testing.T) {
	tab := &Table{rows: [][]string{{"A", "N"}}}
	tab.AlignRight(1)
	tab.Add(Green+"long"+plain, 5)
	tab.Add("é", 1000)
	var out strings.Builder
	tab.Print(&out)
	want := "A        N\n" + Green + "long" + plain + "     5\né     1000\n"
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
	b := NewBar(file, "orders placed", 2)
	b.Start()
	b.Advance()
	b.Advance()
	b.End()
	text, err := os.ReadFile(file.Name())
	if err != nil || strings.Count(string(text), "\n") != 1 || !strings.Contains(string(text), "2 of 2") {
		t.Errorf("the bar left %q, %v", text, err)
	}
}
