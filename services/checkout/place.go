package checkout

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/group"
	"quadrille.internal/platform/idempotency"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/telemetry"
)

const placeTimeout = 5 * time.Second // of a batch

// orderKey tells requests apart: each customer's idempotency keys are his own. Where
// the edge says who asks, that is the customer.
type orderKey struct{ customer, key string }

func keyOf(c *Checkout) orderKey { return orderKey{c.CustomerID, c.IdempotencyKey} }

// placement is one request to place an order. Exactly one of placed and err is
// set once it has been run.
type placement struct {
	checkout     *Checkout
	paymentToken string
	asked        time.Time

	// placed is the checkout that bears the idempotency key: this one, or the
	// earlier one that this repeats.
	placed *Checkout
	err    error
}

// placer places orders, those of concurrent requests in one transaction.
type placer struct {
	outbox *outbox.Outbox
	group  *group.Group[*placement]
	waited *telemetry.Durations
}

func newPlacer(o *outbox.Outbox) *placer {
	p := &placer{outbox: o}
	p.group = group.New(group.Config{Workers: 1}, p.placeAll)
	return p
}

func (p *placer) run(ctx context.Context) error { return p.group.Run(ctx) }

// place records a checkout and returns it, or the one that bears its key already. Of
// requests with the same key at once the first is placed; the others wait for it, in
// its batch or a later one, or on its row.
func (p *placer) place(ctx context.Context, pl *placement) (*Checkout, error) {
	pl.asked = time.Now()
	if err := p.group.Do(ctx, pl); err != nil {
		return nil, &fault.Fault{Kind: fault.Unavailable, Code: "not_placed", Cause: err,
			Message: "The order may not have been placed; send it again with the same Idempotency-Key."}
	}
	if pl.err != nil {
		return nil, pl.err
	}
	if pl.placed == nil {
		return nil, erasure.Refused()
	}
	if err := idempotency.Check(bytes.Equal(pl.placed.RequestHash, pl.checkout.RequestHash)); err != nil {
		return nil, err
	}
	return pl.placed, nil
}

// placeAll is the group's run function: all of a batch commits, or none.
func (p *placer) placeAll(ctx context.Context, batch []*placement) {
	ctx, cancel := context.WithTimeout(ctx, placeTimeout)
	defer cancel()
	var began time.Time
	err := p.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		began = tx.Now
		return insertAll(ctx, tx, batch)
	})
	for _, pl := range batch {
		pl.err = err
		if err == nil {
			p.waited.Observe("", began.Sub(pl.asked))
		}
	}
}

// insertAll adds the checkouts whose keys are new and finds those of the others.
// One whose key another replica is just using waits for it. A batch may hold a
// key twice, since a caller who hung up may have asked again.
func insertAll(ctx context.Context, tx *outbox.Tx, batch []*placement) error {
	rows := make([]*Checkout, len(batch))
	for i, pl := range batch {
		pl.checkout.PlacedAt = tx.Now
		rows[i] = pl.checkout
	}
	body, err := json.Marshal(rows)
	if err != nil {
		return fmt.Errorf("place: %w", err)
	}
	added, err := tx.Query(ctx, `
		insert into checkouts (`+checkouts.Columns("")+`)
		select `+checkouts.Columns("")+` from json_populate_recordset(null::checkouts, $1) c
		where (select e.digest from erasures e where e.digest = sha256(convert_to(c.customer_id, 'UTF8'))) is null
		order by customer_id, idempotency_key
		on conflict on constraint checkouts_once do nothing
		returning id`, body)
	if err != nil {
		return fmt.Errorf("place: %w", err)
	}
	fresh, err := pgx.CollectRows(added, pgx.RowTo[uuid.UUID])
	if err != nil {
		return fmt.Errorf("place: %w", err)
	}
	if err := announce(tx, batch, fresh); err != nil {
		return err
	}
	if len(fresh) == len(batch) {
		return nil
	}
	return findEarlier(ctx, tx, batch)
}

func announce(tx *outbox.Tx, batch []*placement, added []uuid.UUID) error {
	isNew := make(map[uuid.UUID]bool, len(added))
	for _, id := range added {
		isNew[id] = true
	}
	for _, pl := range batch {
		pl.placed = nil
		if !isNew[pl.checkout.ID] {
			continue
		}
		pl.placed = pl.checkout
		if err := tx.Emit(pl.checkout.TraceParent, pl.checkout.Created(pl.paymentToken)); err != nil {
			return err
		}
	}
	return nil
}

func findEarlier(ctx context.Context, tx *outbox.Tx, batch []*placement) error {
	var customers, keys []string
	for _, pl := range batch {
		if pl.placed == nil {
			customers, keys = append(customers, pl.checkout.CustomerID), append(keys, pl.checkout.IdempotencyKey)
		}
	}
	earlier, err := checkouts.Select(ctx, tx, `
		where (customer_id, idempotency_key) in (
			select w.customer, w.key from unnest($1::text[], $2::text[]) as w(customer, key))`, customers, keys)
	if err != nil {
		return err
	}
	byKey := make(map[orderKey]*Checkout, len(earlier))
	for _, c := range earlier {
		byKey[keyOf(c)] = c
	}
	for _, pl := range batch {
		if pl.placed == nil {
			pl.placed = byKey[keyOf(pl.checkout)] // nil: the customer is erased, or is being erased
		}
	}
	return nil
}
