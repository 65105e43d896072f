package service

import (
	"testing"
	"time"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/pgtx"
)

// A connection that never comes back must not keep the process from ending.
func TestClosingThePoolDoesNotHang(t *testing.T) {
	pool, err := pgtx.Open(t.Context(), pgtest.URL(t), pgtx.Options{})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := &Instance{pool: pool}
	began := time.Now()
	p.closePool()
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("closing took %v", took)
	}
	conn.Release()
}
