package b2b

import (
	"math"
	"sync/atomic"
	"testing"

	"quadrille.internal/platform/servicetest"
)

func TestMigrations(t *testing.T) { servicetest.CheckMigrations(t, migrations) }

func TestCreditIsNeverOverTheLimitHoweverManyAskAtOnce(t *testing.T) {
	const crowd, amount, fitting = 50, 300, 7
	o := newOffice(t)
	o.company("acme", fitting*amount+amount-1, Policy{})
	asks := make([]func() error, crowd)
	var held atomic.Int64
	for i := range asks {
		req := o.order("acme", amount)
		asks[i] = func() error {
			view, err := o.worker.holdCredit(t.Context(), req)
			v := view.Verdict
			if err == nil && v.OK {
				held.Add(1)
			} else if err == nil && v.Reason.Code != reasonCredit {
				t.Errorf("refused with %+v", v)
			}
			return err
		}
	}
	for _, err := range race(asks...) {
		if err != nil {
			t.Error(err)
		}
	}
	if sum := o.number(`select held from companies`); held.Load() != fitting || sum != fitting*amount {
		t.Errorf("%d orders were told that they hold credit, %d in all, want %d and %d", held.Load(), sum, fitting, fitting*amount)
	}
}

// An activity may run twice, and at once.
func TestCreditOfAnOrderIsHeldUsedAndReleasedOnce(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000, Policy{})
	hold := func(req Request) func() error {
		return func() error { _, err := o.worker.holdCredit(t.Context(), req); return err }
	}
	release := func(req Request) func() error {
		return func() error { _, err := o.worker.undoCredit(t.Context(), req); return err }
	}
	o.worker.erp = startERP(t).port()
	confirm := func(req Request) func() error {
		return func() error { _, err := o.worker.syncERP(t.Context(), req); return err }
	}
	expect := func(step string, errs []error, held, exposure int64) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Errorf("%s: %v", step, err)
			}
		}
		if h, e := o.number(`select held from companies`), o.number(`select exposure from companies`); h != held || e != exposure {
			t.Errorf("after %s the company has %d held and %d of exposure, want %d and %d", step, h, e, held, exposure)
		}
	}
	a, b := o.order("acme", 600), o.order("acme", 400)
	b.Verdict = &cancelledByCustomer
	expect("hold", race(hold(a), hold(a), hold(b), hold(b)), 1_000, 0)
	expect("confirm", race(confirm(a), confirm(a)), 400, 600)
	expect("release", race(release(b), release(b)), 0, 600)
	expect("a late hold", race(hold(a), hold(b)), 0, 600)
}

func TestHoldingCreditDoesNotOverflow(t *testing.T) {
	o := newOffice(t)
	o.company("acme", math.MaxInt64, Policy{})
	for i, want := range []bool{true, false} {
		if view, err := o.worker.holdCredit(t.Context(), o.order("acme", math.MaxInt64-1)); err != nil || view.Verdict.OK != want {
			t.Errorf("order %d: %+v, %v", i+1, view, err)
		}
	}
}
