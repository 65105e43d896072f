package traces

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func at(ms int) time.Time { return time.UnixMilli(int64(1_700_000_000_000 + ms)) }

// draw writes a tree in a line.
func draw(nodes []*Node) string {
	var parts []string
	for _, n := range nodes {
		text := n.Name
		if n.Linked {
			text = "~" + text
		}
		if len(n.Children) > 0 {
			text += "(" + draw(n.Children) + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

func TestTree(t *testing.T) {
	spans := []Span{
		{TraceID: "t", ID: "3", Parent: "1", Name: "second", Begin: at(20)},
		{TraceID: "t", ID: "1", Name: "root", Begin: at(0)},
		{TraceID: "t", ID: "2", Parent: "1", Name: "first", Begin: at(10)},
		{TraceID: "other", ID: "9", Parent: "8", Name: "batch", Begin: at(15), Links: []Link{{"other", "8"}, {"t", "2"}, {"t", "3"}}},
		{TraceID: "other", ID: "8", Name: "others'", Begin: at(1)},
		{TraceID: "t", ID: "5", Parent: "lost", Name: "orphan", Begin: at(30)},
		{TraceID: "t", ID: "6", Parent: "3", Name: "own batch", Begin: at(40), Links: []Link{{"t", "3"}, {"t", "2"}}},
	}
	for n := range spans { // in whatever order they were sent
		tree, err := Tree("t", append(append([]Span{}, spans[n:]...), spans[:n]...))
		if err != nil {
			t.Fatal(err)
		}
		const want = "root(first(~batch ~own batch) second(~batch own batch)) orphan"
		if got := draw(tree); got != want {
			t.Errorf("rotated by %d: %s, want %s", n, got, want)
		}
	}
	if _, err := Tree("none", spans); !errors.Is(err, ErrNone) {
		t.Errorf("of a trace without spans: %v", fmt.Sprint(err))
	}
}
