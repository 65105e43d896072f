package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
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
	p.restart()
	if got := p.charges(""); !reflect.DeepEqual(got, charges) {
		t.Fatalf("charges %+v, want %+v", got, charges)
	}
	if got := p.summary(); !reflect.DeepEqual(got, summary) {
		t.Fatalf("summary %+v, want %+v", got, summary)
	}
	if a := p.refund("again", refundBody(charges[0].ID, 901)); a.code() != "charge_already_refunded" {
		t.Fatalf("refund after restart %d %s", a.status, a.body)
	}
}

func TestTwoServersNeverShareAStateFile(t *testing.T) {
	p := startProvider(t)
	if err := refused(t, p.cfg); !strings.Contains(err, "does another server use it?") {
		t.Fatalf("second server: %v", err)
	}
}

func TestFlags(t *testing.T) {
	needed := []string{"-state", "s", "-key-file", "k"}
	for _, c := range []struct{ args, fault string }{
		{"", ""},
		{"-addr localhost:0 -slow 1s", ""},
		{"-addr [::1]:0", ""},
		{"-addr 0.0.0.0:18900", "reachable from other machines"},
		{"-addr :18900", "reachable from other machines"},
		{"-addr 0.0.0.0:18900 -allow-remote", ""},
		{"-addr 127.0.0.1", "missing port"},
		{"-state= -key-file=", "-state is required\n-key-file is required"},
		{"-slow 2m", "-slow"},
	} {
		_, err := parseFlags(append(needed, strings.Fields(c.args)...))
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%q: %v, want %q", c.args, err, c.fault)
		}
	}
}

func TestEmptyKeyFileIsRefused(t *testing.T) {
	p := startProvider(t)
	if err := os.WriteFile(p.cfg.keyFile, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if err := refused(t, p.cfg); !strings.Contains(err, "is empty") {
		t.Fatalf("run: %v", err)
	}
}

// refused returns why a server with this configuration does not start.
func refused(t *testing.T, cfg config) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := run(ctx, cfg, slog.New(slog.DiscardHandler), func(net.Addr) { cancel() })
	if err == nil {
		t.Fatal("the server started")
	}
	return err.Error()
}
