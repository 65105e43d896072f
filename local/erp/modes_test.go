package main

import (
	"context"
	"net/http"
	"testing"
	"time"

	"quadrille.internal/local/erp/ledger"
	"quadrille.internal/local/standin/standintest"
)

// found demands exactly one order of the external id, and that a conditional
// retry of its creation answers with it.
func found(t *testing.T, e erp, n int, companyID string) {
	t.Helper()
	orders := e.orders(n)
	if len(orders) != 1 {
		t.Fatalf("%d orders", len(orders))
	}
	retry := e.createOnce(n, companyID)
	standintest.Expect(t, retry, http.StatusPreconditionFailed, "order_exists")
	if got := standintest.Parse[ledger.Order](t, retry); got.ID != orders[0].ID {
		t.Fatalf("retry answered %s, the order is %s", retry.Body, orders[0].ID)
	}
}

func TestDownDoesNothing(t *testing.T) {
	e := startERP(t)
	e.Mode(`{"mode":"down"}`)
	standintest.Expect(t, e.createOnce(1, "c1"), http.StatusServiceUnavailable, "unavailable")
	e.expectCut(1, "c1")
	standintest.Expect(t, e.Must("GET", "/healthz", ""), http.StatusOK, "")
	e.Mode(`{"mode":"ok"}`)
	if n := e.summary().Orders; n != 0 {
		t.Fatalf("%d orders while down", n)
	}
}

func TestDownEndsByItself(t *testing.T) {
	e := startERP(t)
	e.Mode(`{"mode":"down","for_ms":1}`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e.await(ctx, "/v1/orders", http.StatusOK)
}

func TestSlowTakesItsTime(t *testing.T) {
	e := startERP(t)
	e.Mode(`{"mode":"slow"}`)
	begin := time.Now()
	e.created(1)
	if took := time.Since(begin); took < e.Config.Slow {
		t.Fatalf("answered after %s", took)
	}
}

func TestFlakyDoesNothing(t *testing.T) {
	e := startERP(t)
	e.Mode(`{"mode":"flaky","count":3}`)
	for range 3 {
		standintest.Expect(t, e.createOnce(1, "c1"), http.StatusInternalServerError, "internal")
	}
	if n := e.summary().Orders; n != 0 {
		t.Fatalf("%d orders", n)
	}
	standintest.Expect(t, e.createOnce(1, "c1"), http.StatusCreated, "")
}

func TestFailAfterDoesTheWork(t *testing.T) {
	e := startERP(t)
	e.Mode(`{"mode":"fail_after","count":1}`)
	if n := len(e.orders(1)); n != 0 { // looking first does not use up the count
		t.Fatalf("%d orders", n)
	}
	standintest.Expect(t, e.createOnce(1, "c1"), http.StatusInternalServerError, "internal")
	e.Restart()
	found(t, e, 1, "c1")
}

func TestLoseReplyDoesTheWork(t *testing.T) {
	e := startERP(t)
	e.Mode(`{"mode":"lose_reply","ratio":1}`)
	e.expectCut(1, "c1")
	e.Restart()
	found(t, e, 1, "c1")
}

func TestLostReplyOfACancel(t *testing.T) {
	e := startERP(t)
	o := e.created(1)
	e.Mode(`{"mode":"lose_reply","count":1}`)
	if a, err := e.Do(t.Context(), "POST", "/v1/orders/"+o.ID+"/cancel", ""); err == nil {
		t.Fatalf("answered %d %s", a.Status, a.Body)
	}
	if got := e.orders(1)[0].Status; got != "cancelled" {
		t.Fatalf("order is %s behind the lost reply", got)
	}
	standintest.Expect(t, e.cancel(o.ID), http.StatusOK, "")
}

func TestModeIsChecked(t *testing.T) {
	e := startERP(t)
	for body, param := range map[string]string{
		`{"mode":"odd"}`: "mode", `{"mode":"down","for_ms":-1}`: "for_ms", `{"mode":"down","ratio":2}`: "ratio",
		`{"mode":"down","count":-1}`: "count", `{"mode":"down","for":1}`: "for",
	} {
		if a := e.Must("POST", "/admin/mode", body); a.Status != http.StatusBadRequest || a.Param() != param {
			t.Errorf("%s: %d %s", body, a.Status, a.Body)
		}
	}
	e.created(1)
}

func TestCompaniesThatShowTheTemper(t *testing.T) {
	e := startERP(t)

	begin := time.Now()
	standintest.Expect(t, e.createOnce(1, "erp-slow-1"), http.StatusCreated, "")
	if took := time.Since(begin); took < e.Config.Slow {
		t.Errorf("slow company answered after %s", took)
	}

	standintest.Expect(t, e.createOnce(2, "erp-reject-1"), http.StatusUnprocessableEntity, "order_rejected")
	if n := len(e.orders(2)); n != 0 {
		t.Errorf("%d rejected orders", n)
	}

	standintest.Expect(t, e.createOnce(3, "erp-fail-after-1"), http.StatusInternalServerError, "internal")
	found(t, e, 3, "erp-fail-after-1")

	e.expectCut(4, "erp-lose-reply-1")
	found(t, e, 4, "erp-lose-reply-1")

	standintest.Expect(t, e.createOnce(5, "erp-cancel-fails-1"), http.StatusCreated, "")
	o := e.orders(5)[0]
	standintest.Expect(t, e.cancel(o.ID), http.StatusInternalServerError, "internal")
	if got := e.orders(5)[0].Status; got != "open" {
		t.Errorf("order is %s though its cancel failed", got)
	}
}
