package command

import (
	"reflect"
	"strings"
	"testing"

	"quadrille.internal/events"
	"quadrille.internal/quad/api"
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

// An order by quote is of the quote's customer, whatever the defaults are.
func TestCompleteByQuote(t *testing.T) {
	const token = "eyJ0eXAiOiJxdW90ZStqd3MifQ.eyJjdXN0b21lcl9pZCI6ImFubiJ9.c2lnbmF0dXJl"
	for _, given := range []string{token, "-"} {
		order := api.NewOrder{Quote: given, CustomerID: "c1", Currency: "GBP", PaymentToken: "tok_success"}
		want := api.NewOrder{Quote: token, CustomerID: "ann", PaymentToken: "tok_success"}
		if err := complete(&order, nil, strings.NewReader(token+"\n")); err != nil || !reflect.DeepEqual(order, want) {
			t.Errorf("--quote %s is %+v, %v, want %+v", given, order, err, want)
		}
	}
	for _, bad := range []string{"x", "a.b", "a.!.c", "a.eyJ.c", "-"} {
		if err := complete(&api.NewOrder{Quote: bad}, nil, strings.NewReader("")); err == nil {
			t.Errorf("--quote %s was accepted", bad)
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
