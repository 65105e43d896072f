package main

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestRestartKeepsEverything(t *testing.T) {
	p := startProvider(t)
	for i := range 5 {
		c := p.succeeded(fmt.Sprint("k", i), chargeBody("tok_success", fmt.Sprint("o", i)))
		p.refund(fmt.Sprint("r", i), refundBody(c.ID, int64(100*(i+1))))
	}
	p.charge("declined", chargeBody("tok_decline", "o"))
	charges, summary := p.charges(""), p.summary()
	p.Restart()
	if got := p.charges(""); !reflect.DeepEqual(got, charges) {
		t.Fatalf("charges %+v, want %+v", got, charges)
	}
	if got := p.summary(); !reflect.DeepEqual(got, summary) {
		t.Fatalf("summary %+v, want %+v", got, summary)
	}
	if a := p.refund("again", refundBody(charges[0].ID, 901)); a.Code() != "charge_already_refunded" {
		t.Fatalf("refund after restart %d %s", a.Status, a.Body)
	}
}

func TestTwoServersNeverShareAStateFile(t *testing.T) {
	p := startProvider(t)
	if err := p.Refusal(); !strings.Contains(err, "does another server use it?") {
		t.Fatalf("second server: %v", err)
	}
}

func TestEmptyKeyFileIsRefused(t *testing.T) {
	p := startProvider(t)
	if err := os.WriteFile(p.Config.KeyFile, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Stop()
	if err := p.Refusal(); !strings.Contains(err, "is empty") {
		t.Fatalf("run: %v", err)
	}
}
