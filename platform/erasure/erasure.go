// Package erasure has a service forget customers. Each service that keeps, or parks, events
// with customers' ids is a holder: it hears customer.erasure.requested, takes the id out of
// its database as soon as nothing that is open needs it, and answers. What comes later finds
// that the customer is erased, and brings the id back no more.
package erasure

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/events"
	"quadrille.internal/events/customer"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/sweep"
)

const (
	sweepEvery   = 5 * time.Second
	sweepTimeout = 30 * time.Second
	// retryAfter is when what must wait, or failed, is looked at again.
	retryAfter = 15 * time.Second
)

// Customer is who must be erased.
type Customer struct {
	ID string
	// Pseudonym is an id that leads to nobody, for what must stay. It is new each time, and
	// nothing says whose it is.
	Pseudonym string
}

// Pseudonym makes one.
func Pseudonym() string { return "erased-" + uuid.NewString() }

// Outcome is what a holder did.
type Outcome struct {
	Deleted, Pseudonymised, Kept int64
	// WaitsFor says what must end first, without naming anybody: "2 open orders". Unless it
	// is "", nothing that the holder did is committed, and it is asked again.
	WaitsFor string
}

// Erase takes a customer out of a service's tables, in a transaction that commits with the
// answer. It may come again for one who was erased before.
type Erase func(ctx context.Context, tx *outbox.Tx, c Customer) (Outcome, error)

// Holder is a service's part in erasures.
type Holder struct {
	pool   *pgxpool.Pool
	outbox *outbox.Outbox
	log    *slog.Logger
	erase  Erase
	answer func(events.Erased) events.Event
	sweep  *sweep.Sweep
	open   atomic.Int64
}

// New returns the holder of a service. erase is nil where only parked events have ids of
// customers. answer makes the service's own event.
func New(kit *service.Kit, erase Erase, answer func(events.Erased) events.Event) *Holder {
	h := &Holder{pool: kit.Pool, outbox: kit.Outbox, log: kit.Log, erase: erase, answer: answer}
	h.sweep = sweep.New(sweep.Config{Name: "erasures", Every: sweepEvery, Timeout: sweepTimeout, Log: kit.Log}, h.Next)
	kit.Metrics.Gauge("erasures_open", "Customers who wait to be erased.", h.open.Load)
	return h
}

// Work has the holder erase what it was asked to.
func (h *Holder) Work() service.Work { return service.Work{Name: "erasures", Run: h.sweep.Run} }

// Handle notes requests to erase, and leaves all other events to next, which is nil where
// the service hears no others.
func (h *Holder) Handle(next inbox.Handler) inbox.Handler {
	return func(ctx context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
		others := make([]inbox.Delivery, 0, len(batch))
		for _, d := range batch {
			e, ok := d.Event.(*customer.ErasureRequested)
			if !ok {
				others = append(others, d)
				continue
			}
			digest := Digest(e.CustomerID)
			tx.Last(`
				insert into erasures as e (digest, customer_id, traceparent, asked_at, look_at) values ($1, $2, $3, $4, $5)
				on conflict (digest) do update set customer_id = excluded.customer_id, xid = excluded.xid,
					traceparent = excluded.traceparent, asked_at = excluded.asked_at, look_at = excluded.look_at, erased_at = null
				where e.erased_at is not null`, digest[:], e.CustomerID, d.Trace, d.Time, tx.Now)
			tx.AfterCommit(h.sweep.Wake)
		}
		if len(others) == 0 {
			return nil
		}
		return next(ctx, tx, others)
	}
}

// Digest is by what one who is erased is known.
func Digest(customerID string) [sha256.Size]byte { return sha256.Sum256([]byte(customerID)) }

// errWaits undoes what a holder did before it found that it must wait.
var errWaits = errors.New("something must end first")

// request is one that is due.
type request struct {
	digest     []byte
	customerID string
	trace      string
	outcome    Outcome
}

// Next erases the customer who is due longest, and reports whether there may be more.
func (h *Holder) Next(ctx context.Context) (more bool, err error) {
	var r *request
	err = h.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		if r, err = next(ctx, tx); err != nil || r == nil {
			return err
		}
		return h.do(ctx, tx, r)
	})
	if r == nil {
		return false, errors.Join(err, h.count(ctx))
	}
	switch {
	case err == nil:
		h.log.InfoContext(ctx, "customer erased", "deleted", r.outcome.Deleted, "pseudonymised", r.outcome.Pseudonymised, "kept", r.outcome.Kept)
		return true, nil
	case errors.Is(err, errWaits):
		return true, h.postpone(ctx, r, r.outcome.WaitsFor)
	default:
		return true, errors.Join(err, h.postpone(ctx, r, "an error, which the log has"))
	}
}

// next claims a request that is due. One is not due before every transaction has ended
// that began before it was asked for: such a one has not seen that the customer must be
// erased, and may yet write the id. nil is none.
func next(ctx context.Context, tx *outbox.Tx) (*request, error) {
	rows, err := tx.Query(ctx, `
		select digest, customer_id, traceparent from erasures
		where erased_at is null and look_at <= $1 and xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
		order by look_at limit 1 for update skip locked`, tx.Now)
	if err != nil {
		return nil, fmt.Errorf("look for erasures: %w", err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (*request, error) {
		r := &request{}
		return r, row.Scan(&r.digest, &r.customerID, &r.trace)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // none is no fault
	}
	if err != nil {
		return nil, fmt.Errorf("look for erasures: %w", err)
	}
	return r, nil
}

func (h *Holder) do(ctx context.Context, tx *outbox.Tx, r *request) error {
	c := Customer{ID: r.customerID, Pseudonym: Pseudonym()}
	r.outcome = Outcome{}
	if h.erase != nil {
		var err error
		if r.outcome, err = h.erase(ctx, tx, c); err != nil {
			return fmt.Errorf("erase a customer: %w", err)
		}
	}
	if r.outcome.WaitsFor != "" {
		return errWaits
	}
	rows, err := tx.Query(ctx, `select erase_parked($1, $2)`, c.ID, c.Pseudonym)
	if err != nil {
		return fmt.Errorf("erase a customer in parked events: %w", err)
	}
	parked, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int64])
	if err != nil {
		return fmt.Errorf("erase a customer in parked events: %w", err)
	}
	r.outcome.Pseudonymised += parked
	tx.Last(`update erasures set customer_id = null, erased_at = $2, waits_for = '' where digest = $1`, r.digest, tx.Now)
	return tx.Emit(r.trace, h.answer(events.Erased{
		OfCustomer: events.OfCustomer{CustomerID: c.ID},
		Deleted:    r.outcome.Deleted, Pseudonymised: r.outcome.Pseudonymised, Kept: r.outcome.Kept,
	}))
}

// postpone notes why a customer is not erased yet.
func (h *Holder) postpone(ctx context.Context, r *request, waitsFor string) error {
	return h.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		_, err := tx.Exec(ctx, `update erasures set waits_for = $2, look_at = $3 where digest = $1 and erased_at is null`,
			r.digest, waitsFor, tx.Now.Add(retryAfter))
		return err
	})
}

func (h *Holder) count(ctx context.Context) error {
	var n int64
	if err := h.pool.QueryRow(ctx, `select count(*) from erasures where erased_at is null`).Scan(&n); err != nil {
		return fmt.Errorf("count erasures: %w", err)
	}
	h.open.Store(n)
	return nil
}
