package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/audit"
	"quadrille.internal/quad/provider"
	checkout "quadrille.internal/services/checkout/audit"
	inventory "quadrille.internal/services/inventory/audit"
	order "quadrille.internal/services/order/audit"
	payment "quadrille.internal/services/payment/audit"
	price "quadrille.internal/services/price/audit"
	b2b "quadrille.internal/workflows/b2b/audit"
)

// examination holds the rules against all orders.
type examination struct {
	src       *Sources
	rules     []rule
	ledger    *ledger
	erp       *erpBook
	checked   []int // by rule
	offenders []map[uuid.UUID]string
	waiting   []Offender
}

// orders makes the checks that concern orders.
func (src *Sources) orders(ctx context.Context) (*examination, error) {
	a := &examination{src: src, rules: rules, ledger: newLedger(src.Provider), erp: newERPBook(src.ERP), checked: make([]int, len(rules))}
	if src.Databases["price"] == nil { // nobody has the books of vouchers
		a.rules = slices.DeleteFunc(slices.Clone(rules), func(r rule) bool { return r.name == voucherRule })
	}
	for range a.rules {
		a.offenders = append(a.offenders, make(map[uuid.UUID]string))
	}
	if err := errors.Join(a.ledger.refresh(ctx), a.erp.readAll(ctx)); err != nil {
		return nil, err
	}
	err := a.read(ctx, nil, func(f *file) {
		for i, r := range a.rules {
			if r.applies(f) {
				a.checked[i]++
			}
		}
		a.judge(f)
	})
	if err != nil {
		return nil, err
	}
	return a, a.readAgain(ctx)
}

// judge notes the rules that an order breaks, and forgets those it keeps.
func (a *examination) judge(f *file) {
	now := time.Now()
	for i, r := range a.rules {
		delete(a.offenders[i], f.id)
		if !r.applies(f) {
			continue
		}
		if problem := r.broken(f, now); problem != "" {
			a.offenders[i][f.id] = problem
		}
	}
	if excuse := f.excuse(now); f.lingers(now) && excuse != "" {
		a.waiting = append(a.waiting, Offender{f.id.String(), "waits for " + excuse})
	}
}

// readAgain reads those at fault again, and again, until their faults are gone or
// ClearWithin is over.
func (a *examination) readAgain(ctx context.Context) error {
	deadline := time.Now().Add(a.src.ClearWithin)
	for time.Now().Before(deadline) {
		suspects := a.suspects()
		if len(suspects) == 0 {
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
		if err := errors.Join(a.ledger.refresh(ctx), a.erp.readAgain(ctx, suspects)); err != nil {
			return err
		}
		a.forgetWaiting(suspects)
		if err := a.read(ctx, suspects, a.judge); err != nil {
			return err
		}
	}
	return nil
}

func (a *examination) suspects() []uuid.UUID {
	all := make(map[uuid.UUID]struct{})
	for _, offenders := range a.offenders {
		for id := range offenders {
			all[id] = struct{}{}
		}
	}
	return slices.Collect(maps.Keys(all))
}

// forgetWaiting drops orders that are about to be judged again.
func (a *examination) forgetWaiting(ids []uuid.UUID) {
	again := make(map[string]bool, len(ids))
	for _, id := range ids {
		again[id.String()] = true
	}
	a.waiting = slices.DeleteFunc(a.waiting, func(o Offender) bool { return again[o.ID] })
}

func (a *examination) checks() []Check {
	checks := make([]Check, len(a.rules))
	for i, r := range a.rules {
		checks[i] = Check{Name: r.name, Checked: a.checked[i], Unit: r.unit}
		for id, problem := range a.offenders[i] {
			checks[i].Offenders = append(checks[i].Offenders, Offender{id.String(), problem})
		}
		slices.SortFunc(checks[i].Offenders, func(x, y Offender) int { return bytes.Compare([]byte(x.ID), []byte(y.ID)) })
	}
	return checks
}

// read merges the books and hands on each order's file; those of ids only, unless
// that is nil.
func (a *examination) read(ctx context.Context, ids []uuid.UUID, each func(*file)) error {
	checkouts, err := checkout.Checkouts(ctx, a.src.Databases["checkout"], ids)
	if err != nil {
		return fmt.Errorf("read checkouts: %w", err)
	}
	defer checkouts.Close()
	orders, err := order.Orders(ctx, a.src.Databases["order"], ids)
	if err != nil {
		return fmt.Errorf("read orders: %w", err)
	}
	defer orders.Close()
	reservations, err := inventory.Reservations(ctx, a.src.Databases["inventory"], ids)
	if err != nil {
		return fmt.Errorf("read reservations: %w", err)
	}
	defer reservations.Close()
	payments, err := payment.Payments(ctx, a.src.Databases["payment"], ids)
	if err != nil {
		return fmt.Errorf("read payments: %w", err)
	}
	defer payments.Close()
	companies := &audit.Rows[b2b.Order]{}
	if db := a.src.Databases["b2b"]; db != nil {
		if companies, err = b2b.Orders(ctx, db, ids); err != nil {
			return fmt.Errorf("read companies' orders: %w", err)
		}
	}
	defer companies.Close()
	uses := &audit.Rows[price.Use]{}
	if db := a.src.Databases["price"]; db != nil {
		if uses, err = price.Uses(ctx, db, ids); err != nil {
			return fmt.Errorf("read the uses of vouchers: %w", err)
		}
	}
	defer uses.Close()
	charged, synced := sorted(a.ledger.byOrder, ids), sorted(a.erp.byOrder, ids)

	for {
		id, found := least(checkouts.Head(), orders.Head(), reservations.Head(), payments.Head(), companies.Head(),
			uses.Head(), charged.head(), synced.head())
		if !found {
			break
		}
		each(&file{
			id: id, checkout: checkouts.Take(id), order: orders.Take(id),
			reservation: reservations.Take(id), payment: payments.Take(id), company: companies.Take(id), voucher: uses.Take(id),
			charges: a.ledger.of(charged, id), erp: a.erp.of(synced, id),
		})
	}
	for _, err := range []error{checkouts.Err(), orders.Err(), reservations.Err(), payments.Err(), companies.Err(), uses.Err()} {
		if err != nil {
			return fmt.Errorf("read the books: %w", err)
		}
	}
	return nil
}

// least returns the lowest of the ids that are there.
func least(ids ...*uuid.UUID) (lowest uuid.UUID, found bool) {
	for _, id := range ids {
		if id != nil && (!found || bytes.Compare(id[:], lowest[:]) < 0) {
			lowest, found = *id, true
		}
	}
	return lowest, found
}

// ledger is a copy of the provider's, by order.
type ledger struct {
	from                   Provider
	byOrder                map[uuid.UUID][]provider.Charge
	refunded               map[string]int64 // by charge
	lastCharge, lastRefund string
}

func newLedger(p Provider) *ledger {
	return &ledger{from: p, byOrder: make(map[uuid.UUID][]provider.Charge), refunded: make(map[string]int64)}
}

// refresh reads what was added since.
func (l *ledger) refresh(ctx context.Context) error {
	charges, err := l.from.Charges(ctx, l.lastCharge)
	if err != nil {
		return err
	}
	for _, c := range charges {
		// A charge that names no order of ours is filed under the nil id, and stands out.
		id, _ := uuid.Parse(c.Metadata.OrderID)
		l.byOrder[id] = append(l.byOrder[id], c)
		l.lastCharge = c.ID
	}
	refunds, err := l.from.Refunds(ctx, l.lastRefund)
	if err != nil {
		return err
	}
	for _, r := range refunds {
		l.refunded[r.Charge] += r.Amount
		l.lastRefund = r.ID
	}
	return nil
}

// queue is ids in ascending order.
type queue []uuid.UUID

func (q *queue) head() *uuid.UUID {
	if len(*q) == 0 {
		return nil
	}
	return &(*q)[0]
}

// take removes id from the head, and reports whether it was there.
func (q *queue) take(id uuid.UUID) bool {
	if head := q.head(); head == nil || *head != id {
		return false
	}
	*q = (*q)[1:]
	return true
}

// sorted lists the orders of a third party's entries; of ids only, unless that is nil.
func sorted[T any](byOrder map[uuid.UUID][]T, ids []uuid.UUID) *queue {
	var all queue
	if ids == nil {
		all = slices.Collect(maps.Keys(byOrder))
	}
	for _, id := range ids {
		if len(byOrder[id]) > 0 {
			all = append(all, id)
		}
	}
	slices.SortFunc(all, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	return &all
}

// of takes id from the queue and returns its charges.
func (l *ledger) of(q *queue, id uuid.UUID) []charge {
	if !q.take(id) {
		return nil
	}
	var charges []charge
	for _, c := range l.byOrder[id] {
		charges = append(charges, charge{c, l.refunded[c.ID]})
	}
	return charges
}
