package customer

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/events"
	"quadrille.internal/events/b2b"
	"quadrille.internal/events/cart"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/customer"
	"quadrille.internal/events/identity"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/events/price"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/sweep"
	"quadrille.internal/platform/telemetry"
	"quadrille.internal/services/customer/wire"
)

// holders are the services that have customers' ids, by the event with which each answers.
var holders = map[string]string{
	identity.TypeCustomerErased:  "identity",
	cart.TypeCustomerErased:      "cart",
	price.TypeCustomerErased:     "price",
	checkout.TypeCustomerErased:  "checkout",
	inventory.TypeCustomerErased: "inventory",
	payment.TypeCustomerErased:   "payment",
	order.TypeCustomerErased:     "order",
	b2b.TypeCustomerErased:       "b2b",
}

// needAddress are those whose open orders may still need the customer's address: the data
// is kept until they have answered, and no longer, whatever the others do.
var needAddress = []string{"b2b", "checkout", "order"}

const (
	watchEvery   = 30 * time.Second
	watchTimeout = 10 * time.Second
	// tellAgainAfter is when holders that have not answered are asked once more: one may
	// have been restored from a backup.
	tellAgainAfter = 24 * time.Hour
	watchBatch     = 100
)

// erasures are the requests to be erased.
type erasures struct {
	outbox *outbox.Outbox
	log    *slog.Logger
	// within is how long holders may take.
	within time.Duration

	open, late atomic.Int64
	mu         sync.Mutex
	waiting    map[string]int64 // by holder
}

func (e *erasures) expose(m *telemetry.Metrics) {
	m.Gauge("customer_erasures_open", "Customers who asked to be erased, and not all have answered.", e.open.Load)
	m.Gauge("customer_erasures_late", "Those of them whose deadline is over.", e.late.Load)
	m.GaugeBy("customer_erasures_waiting", "holder", "Open erasures that a service has not answered.", func() map[string]int64 {
		e.mu.Lock()
		defer e.mu.Unlock()
		return maps.Clone(e.waiting)
	})
}

// lock has changes of one customer take turns, whether there are rows or not.
func lock(ctx context.Context, tx *outbox.Tx, customerID string) error {
	if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended($1, 0))`, customerID); err != nil {
		return fmt.Errorf("lock a customer: %w", err)
	}
	return nil
}

// request asks all holders to erase a customer. Asked again while the first request is open,
// it changes nothing, unless holders must be told at once.
func (e *erasures) request(ctx context.Context, customerID string, tell bool) (*wire.Erasure, error) {
	digest := erasure.Digest(customerID)
	var r *wire.Erasure
	err := e.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		if err := lock(ctx, tx, customerID); err != nil {
			return err
		}
		trace, deadline := telemetry.TraceParent(ctx), tx.Now.Add(e.within)
		opened, err := tx.Exec(ctx, `
			insert into erasure_requests as r (digest, customer_id, traceparent, requested_at, deadline, told_at) values ($1, $2, $3, $4, $5, $4)
			on conflict (digest) do update set customer_id = excluded.customer_id, traceparent = excluded.traceparent, requested_at = excluded.requested_at,
				deadline = excluded.deadline, told_at = excluded.told_at, alarmed_at = null, erased_at = null, ended_at = null
			where r.ended_at is not null`, digest[:], customerID, trace, tx.Now, deadline)
		if err != nil {
			return fmt.Errorf("request an erasure: %w", err)
		}
		switch {
		case opened.RowsAffected() > 0:
			if _, err := tx.Exec(ctx, `delete from erasure_answers where digest = $1`, digest[:]); err != nil {
				return fmt.Errorf("request an erasure: %w", err)
			}
			if err := tx.Emit(trace, &customer.ErasureRequested{OfCustomer: events.OfCustomer{CustomerID: customerID}, Deadline: deadline}); err != nil {
				return err
			}
		case tell:
			if _, err := emitAgain(ctx, tx, `digest = $2`, digest[:]); err != nil {
				return err
			}
		}
		r, err = find(ctx, tx, customerID)
		return err
	})
	return r, err
}

// find returns a customer's request; nil is none. Of one that has ended only the dates
// are known.
func find(ctx context.Context, db aggregate.Querier, customerID string) (*wire.Erasure, error) {
	digest := erasure.Digest(customerID)
	found, err := list(ctx, db, `where r.digest = $1`, digest[:])
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0].Erasure, nil
}

type listed struct {
	digest []byte
	wire.Erasure
}

// list returns the requests that a condition selects, with those that have not answered.
func list(ctx context.Context, db aggregate.Querier, condition string, args ...any) ([]listed, error) {
	rows, err := db.Query(ctx, `
		select r.digest, coalesce(r.customer_id, ''), r.requested_at, r.deadline, r.erased_at,
			array(select a.holder from erasure_answers a where a.digest = r.digest)
		from erasure_requests r `+condition, args...)
	if err != nil {
		return nil, fmt.Errorf("read erasures: %w", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l listed, err error) {
		var answered []string
		err = row.Scan(&l.digest, &l.CustomerID, &l.RequestedAt, &l.Deadline, &l.ErasedAt, &answered)
		l.WaitsFor = missing(answered)
		return l, err
	})
	if err != nil {
		return nil, fmt.Errorf("read erasures: %w", err)
	}
	return found, nil
}

// missing are the holders that are not among those that answered, in the order of their names.
func missing(answered []string) []string {
	left := []string{}
	for _, holder := range slices.Sorted(maps.Values(holders)) {
		if !slices.Contains(answered, holder) {
			left = append(left, holder)
		}
	}
	return left
}

// handle notes what holders answer. It erases a customer as soon as nothing that is open
// needs the data, and forgets even the id when the last has answered.
func (e *erasures) handle(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
	answers := make(map[string][]inbox.Delivery)
	for _, d := range batch {
		answers[d.Event.Subject()] = append(answers[d.Event.Subject()], d)
	}
	for _, customerID := range slices.Sorted(maps.Keys(answers)) { // sorted, so that two batches cannot deadlock
		if err := e.hear(ctx, tx, customerID, answers[customerID]); err != nil {
			return err
		}
	}
	return nil
}

func (e *erasures) hear(ctx context.Context, tx *outbox.Tx, customerID string, answers []inbox.Delivery) error {
	if err := lock(ctx, tx, customerID); err != nil {
		return err
	}
	digest := erasure.Digest(customerID)
	for _, d := range answers {
		answer, ok := d.Event.(interface{ Erasure() events.Erased })
		if !ok {
			return fmt.Errorf("%s is no answer to an erasure", d.Event.Type())
		}
		did := answer.Erasure()
		// An answer to a question of long ago finds no open request.
		if _, err := tx.Exec(ctx, `
			insert into erasure_answers (digest, holder, answered_at, deleted, pseudonymised, kept)
			select r.digest, $2, $3, $4, $5, $6 from erasure_requests r where r.digest = $1 and r.ended_at is null
			on conflict (digest, holder) do nothing`,
			digest[:], holders[d.Event.Type()], d.Time, did.Deleted, did.Pseudonymised, did.Kept); err != nil {
			return fmt.Errorf("note an answer: %w", err)
		}
	}
	r, err := find(ctx, tx, customerID)
	if err != nil || r == nil || r.CustomerID == "" {
		return err
	}
	if r.ErasedAt == nil && !slices.ContainsFunc(needAddress, func(s string) bool { return slices.Contains(r.WaitsFor, s) }) {
		if err := eraseData(ctx, tx, customerID); err != nil {
			return err
		}
	}
	if len(r.WaitsFor) == 0 {
		// One of them may be parked as well, or was given up there.
		tx.Last(`select erase_parked($1, $2)`, customerID, erasure.Pseudonym())
		tx.Last(`update erasure_requests set customer_id = null, ended_at = $2 where digest = $1`, digest[:], tx.Now)
	}
	return nil
}

// eraseData deletes the customer's key, and what it sealed.
func eraseData(ctx context.Context, tx *outbox.Tx, customerID string) error {
	for _, sql := range []string{
		`delete from data_keys where customer_id = $1`, `delete from addresses where customer_id = $1`,
		`delete from consents where customer_id = $1`, `delete from customers where id = $1`,
	} {
		if _, err := tx.Exec(ctx, sql, customerID); err != nil {
			return fmt.Errorf("erase a customer: %w", err)
		}
	}
	digest := erasure.Digest(customerID)
	_, err := tx.Exec(ctx, `update erasure_requests set erased_at = $2 where digest = $1`, digest[:], tx.Now)
	return err
}

// watch tells holders again, and raises the alarm, until ctx ends.
func (e *erasures) watch(ctx context.Context) error {
	return sweep.New(sweep.Config{Name: "watch over erasures", Every: watchEvery, Timeout: watchTimeout, Log: e.log}, func(ctx context.Context) (bool, error) {
		told, err := e.tellAgain(ctx)
		return told == watchBatch, errors.Join(err, e.alarm(ctx))
	}).Run(ctx)
}

// tellAgain repeats requests that are open for long.
func (e *erasures) tellAgain(ctx context.Context) (told int, err error) {
	err = e.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		told, err = emitAgain(ctx, tx, `told_at < $2 limit $3 for update skip locked`, tx.Now.Add(-tellAgainAfter), watchBatch)
		return err
	})
	return told, err
}

// emitAgain repeats those open requests that which selects, whose arguments begin with $2.
func emitAgain(ctx context.Context, tx *outbox.Tx, which string, args ...any) (told int, err error) {
	rows, err := tx.Query(ctx, `
		update erasure_requests r set told_at = $1
		from (select digest from erasure_requests where ended_at is null and `+which+`) due
		where r.digest = due.digest returning r.customer_id, r.deadline, r.traceparent`, append([]any{tx.Now}, args...)...)
	if err != nil {
		return 0, fmt.Errorf("ask holders again: %w", err)
	}
	type request struct {
		customer.ErasureRequested
		trace string
	}
	due, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r request, err error) {
		err = row.Scan(&r.CustomerID, &r.Deadline, &r.trace)
		return r, err
	})
	if err != nil {
		return 0, fmt.Errorf("ask holders again: %w", err)
	}
	for _, r := range due {
		if err := tx.Emit(r.trace, &r.ErasureRequested); err != nil {
			return 0, err
		}
	}
	return len(due), nil
}

// alarm counts what is open, and logs once what is late. The log has no id: it would be
// there after the customer is erased.
func (e *erasures) alarm(ctx context.Context) error {
	waiting := make(map[string]int64)
	var open, late int64
	var alarms []listed
	err := e.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		clear(waiting)
		open, late, alarms = 0, 0, nil
		all, err := list(ctx, tx, `where r.ended_at is null`)
		if err != nil {
			return err
		}
		for _, l := range all {
			open++
			for _, holder := range l.WaitsFor {
				waiting[holder]++
			}
			if l.Deadline.Before(tx.Now) {
				late++
				alarms = append(alarms, l)
			}
		}
		return e.noteAlarms(ctx, tx, &alarms)
	})
	if err != nil {
		return err
	}
	e.open.Store(open)
	e.late.Store(late)
	e.mu.Lock()
	e.waiting = waiting
	e.mu.Unlock()
	for _, l := range alarms {
		e.log.ErrorContext(ctx, "a customer is not erased in time: see quad erasure list", "request", hex.EncodeToString(l.digest[:6]),
			"deadline", l.Deadline, "waits_for", l.WaitsFor)
	}
	return nil
}

// noteAlarms leaves those that no replica has logged yet.
func (e *erasures) noteAlarms(ctx context.Context, tx *outbox.Tx, alarms *[]listed) error {
	if len(*alarms) == 0 {
		return nil
	}
	digests := make([][]byte, len(*alarms))
	for i, l := range *alarms {
		digests[i] = l.digest
	}
	rows, err := tx.Query(ctx, `update erasure_requests set alarmed_at = $2 where digest = any($1) and alarmed_at is null returning digest`, digests, tx.Now)
	if err != nil {
		return fmt.Errorf("note alarms: %w", err)
	}
	fresh, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return fmt.Errorf("note alarms: %w", err)
	}
	*alarms = slices.DeleteFunc(*alarms, func(l listed) bool {
		return !slices.ContainsFunc(fresh, func(d []byte) bool { return slices.Equal(d, l.digest) })
	})
	return nil
}
