package aggregate

import (
	"net/netip"
	"reflect"
	"testing"
	"time"
)

type inner struct {
	Text string
	At   *time.Time
}

type hidden struct{ Label string }

type held struct {
	hidden
	Row
	Text    string
	Number  int64
	Ratio   float64
	Yes     bool
	At      time.Time
	Pointer *inner
	List    []inner
	Deep    []*inner
	Bytes   []byte
	Map     map[string]int
	Opaque  netip.Addr
}

// Whatever changes, wherever it is, the content does; what JSON has the same text for
// has the same.
func TestContent(t *testing.T) {
	at := time.Date(2026, 11, 21, 20, 0, 0, 1000, time.UTC)
	fresh := func() *held {
		return &held{
			Text: "t", Number: -1, At: at, Pointer: &inner{"p", &at}, List: []inner{{Text: "a"}, {Text: "b"}},
			Deep: []*inner{{Text: "d"}}, Bytes: []byte("x"), Map: map[string]int{"a": 1, "b": 2}, Opaque: netip.MustParseAddr("192.0.2.1"),
		}
	}
	content := func(h *held) string {
		t.Helper()
		b, err := appendContent(nil, reflect.ValueOf(h).Elem())
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	want := content(fresh())
	same := fresh()
	same.Row.loaded = loaded("whatever")
	if got := content(same); got != want {
		t.Errorf("content %q, want that of the same value, %q", got, want)
	}
	later := at.Add(time.Microsecond)
	for name, change := range map[string]func(*held){
		"an embedded field": func(h *held) { h.Label = "l" }, "the id": func(h *held) { h.ID[3] = 1 },
		"a text": func(h *held) { h.Text = "" }, "a number": func(h *held) { h.Number = 1 }, "a ratio": func(h *held) { h.Ratio = 0.5 },
		"a flag": func(h *held) { h.Yes = true }, "a time": func(h *held) { h.At = later }, "nil": func(h *held) { h.Pointer = nil },
		"behind a pointer": func(h *held) { h.Pointer.Text = "q" }, "behind two": func(h *held) { h.Pointer.At = &later },
		"in a list": func(h *held) { h.List[1].Text = "c" }, "a longer list": func(h *held) { h.List = append(h.List, inner{}) },
		"no list": func(h *held) { h.List = nil }, "an empty list": func(h *held) { h.List = h.List[:0] },
		"from one to the next":  func(h *held) { h.List[0].Text, h.List[1].Text = "ab", "" },
		"in a list of pointers": func(h *held) { h.Deep[0].Text = "e" }, "bytes": func(h *held) { h.Bytes[0] = 'y' },
		"in a map": func(h *held) { h.Map["b"] = 3 }, "what hides its fields": func(h *held) { h.Opaque = netip.MustParseAddr("192.0.2.2") },
	} {
		h := fresh()
		change(h)
		if content(h) == want {
			t.Errorf("%s changed, the content did not", name)
		}
	}
}
