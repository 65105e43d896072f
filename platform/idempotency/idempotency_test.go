package idempotency_test

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/idempotency"
)

func TestKey(t *testing.T) {
	for key, good := range map[string]bool{
		"k": true, "PO-1/2~": true, strings.Repeat("x", 255): true,
		"": false, strings.Repeat("x", 256): false, "a b": false, "a\tb": false, "clé": false,
	} {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set(idempotency.Header, key)
		got, err := idempotency.Key(r)
		if good && (err != nil || got != key) {
			t.Errorf("%q: %q, %v", key, got, err)
		}
		if f := fault.Of(err); !good && (f.Kind != fault.Invalid || f.Code != "required" || f.Field != "Idempotency-Key") {
			t.Errorf("%q: error %v", key, err)
		}
	}
}

func TestHash(t *testing.T) {
	h := idempotency.HashOf([]byte("abc"))
	const hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	text, err := h.MarshalJSON()
	if h.String() != hex || err != nil || string(text) != `"\\x`+hex+`"` {
		t.Errorf("hash %s, as JSON %s, %v", h, text, err)
	}
}

func TestCheck(t *testing.T) {
	if err := idempotency.Check(true); err != nil {
		t.Error(err)
	}
	if f := fault.Of(idempotency.Check(false)); f.Kind != fault.Unprocessable || f.Code != "idempotency_mismatch" || f.Field != "Idempotency-Key" {
		t.Errorf("another request: %v", f)
	}
}

func TestOnce(t *testing.T) {
	taken := fmt.Errorf("commit: %w", &pgconn.PgError{Code: "23505", ConstraintName: "orders_once"})
	other := errors.New("another error")
	for _, c := range []struct {
		name string
		ends []error
		want error
	}{
		{"at once", []error{nil}, nil},
		{"another was faster", []error{taken, nil}, nil},
		{"another error", []error{other, nil}, other},
		{"another error then", []error{taken, other, nil}, other},
		{"again and again", []error{taken, taken, taken, nil}, taken},
	} {
		runs := 0
		err := idempotency.Once("orders_once", func() error { runs++; return c.ends[runs-1] })
		if !errors.Is(err, c.want) {
			t.Errorf("%s: error %v after %d runs, want %v", c.name, err, runs, c.want)
		}
	}
}
