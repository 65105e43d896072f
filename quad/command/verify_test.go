package command

import (
	"slices"
	"testing"

	"quadrille.internal/quad/books"
)

// What is not proven is said, or an empty report would read like a good one.
func TestWhatIsNotProvenIsSaid(t *testing.T) {
	known := []books.Service{{Name: "order"}, {Name: "b2b"}}
	for _, c := range []struct {
		have, want []string
	}{
		{[]string{"b2b", "order"}, nil},
		{[]string{"order"}, []string{"not proven: the books of b2b, which is not in context there"}},
		{[]string{"b2b", "loyalty", "order"}, []string{"not proven: the rules of loyalty, which this quad does not know"}},
	} {
		if got := unproven("there", known, c.have); !slices.Equal(got, c.want) {
			t.Errorf("with %v: %q, want %q", c.have, got, c.want)
		}
	}
}
