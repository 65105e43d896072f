package fault_test

import (
	"errors"
	"fmt"
	"testing"

	"quadrille.internal/platform/fault"
)

func TestOf(t *testing.T) {
	cause := errors.New("row is locked")
	shipped := &fault.Fault{Kind: fault.Conflict, Code: "shipped", Message: "The order has shipped.", Cause: cause}
	if got := fault.Of(fmt.Errorf("cancel: %w", shipped)); got != shipped || !errors.Is(got, cause) {
		t.Errorf("Of a wrapped fault = %+v", got)
	}
	got := fault.Of(cause)
	if got.Kind != fault.Internal || got.Code != "internal" || got.Message == "" || !errors.Is(got, cause) {
		t.Errorf("Of another error = %+v", got)
	}
}

func TestError(t *testing.T) {
	f := fault.Field("lines[2].quantity", "out_of_range", "At least %d.", 1)
	if f.Kind != fault.Invalid || f.Error() != "lines[2].quantity: out_of_range: At least 1." {
		t.Errorf("%d, %q", f.Kind, f)
	}
	f = fault.New(fault.NotFound, "no_such_order", "No such order.")
	f.Cause = errors.New("no rows")
	if f.Error() != "no_such_order: No such order.: no rows" {
		t.Errorf("%q", f)
	}
}
