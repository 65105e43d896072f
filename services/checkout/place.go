package checkout

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/aggregate"
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
	// refused says why there is no order, and will be none.
	refused error
}

// placer places orders, those of concurrent requests in one transaction.
type placer struct {
	pool   *pgxpool.Pool
	outbox *outbox.Outbox
	group  *group.Group[*placement]
	waited *telemetry.Durations
	// started counts the orders that were placed, those asked for again aside.
	started *telemetry.Begun
}

func newPlacer(pool *pgxpool.Pool, o *outbox.Outbox) *placer {
	p := &placer{pool: pool, outbox: o}
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
	if err := cmp.Or(pl.err, pl.refused); err != nil {
		return nil, err
	}
	return pl.answer()
}

// earlier returns the checkout that bears the key or the quote of a request already, or nil.
func (p *placer) earlier(ctx context.Context, pl *placement) (*Checkout, error) {
	if err := findEarlier(ctx, p.pool, []*placement{pl}); err != nil {
		return nil, err
	}
	if pl.placed != nil {
		return pl.answer()
	}
	var denied bool
	err := p.pool.QueryRow(ctx, `select exists (select from quoted_orders where order_id = $1 and not placed)`, pl.checkout.ID).Scan(&denied)
	switch {
	case err != nil:
		return nil, fmt.Errorf("find the order of a quote: %w", err)
	case denied: // price is not asked, or it would hold the voucher once more
		return nil, quoteGivenUp()
	default:
		return nil, nil //nolint:nilnil // nobody asked for it before
	}
}

// answer is the checkout that was placed, unless that was not what this request asks for.
func (pl *placement) answer() (*Checkout, error) {
	if pl.placed.IdempotencyKey != pl.checkout.IdempotencyKey && !bytes.Equal(pl.placed.RequestHash, pl.checkout.RequestHash) {
		return nil, quoteUsed(pl.placed.ID.String())
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
	ctx, span := telemetry.StartBatch(ctx, "transaction of orders", traces(batch))
	defer span.End()
	var began time.Time
	err := p.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		began = tx.Now
		return insertAll(ctx, tx, batch)
	})
	for _, pl := range batch {
		pl.err = err
		if err == nil {
			p.waited.ObserveIn(pl.checkout.TraceParent, "", began.Sub(pl.asked))
		}
		if err == nil && pl.placed == pl.checkout {
			p.started.Add(1)
		}
	}
}

// traces are the trace contexts of the requests of a batch.
func traces(batch []*placement) []string {
	all := make([]string, len(batch))
	for i, pl := range batch {
		all[i] = pl.checkout.TraceParent
	}
	return all
}

// insertAll adds the checkouts whose keys are new and finds those of the others.
// One whose key another replica is just using waits for it. A batch may hold a
// key twice, since a caller who hung up may have asked again.
func insertAll(ctx context.Context, tx *outbox.Tx, batch []*placement) error {
	taken, err := takeQuotes(ctx, tx, batch)
	if err != nil {
		return err
	}
	rows := make([]*Checkout, 0, len(batch))
	for _, pl := range batch {
		pl.placed, pl.refused, pl.checkout.PlacedAt = nil, nil, tx.Now
		if pl.checkout.Quote == nil || taken[pl.checkout.ID] == pl {
			rows = append(rows, pl.checkout)
		}
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
	if err := announce(tx, batch, taken, fresh); err != nil {
		return err
	}
	if len(fresh) == len(batch) {
		return nil
	}
	if err := returnQuotes(ctx, tx, taken, fresh); err != nil {
		return err
	}
	if err := findEarlier(ctx, tx, batch); err != nil {
		return err
	}
	for _, pl := range batch {
		switch c := pl.checkout; {
		case pl.placed != nil:
		case c.Quote != nil && taken[c.ID] != pl: // its id is taken, and not by an order
			pl.refused = quoteGivenUp()
		default: // the customer is erased, or is being erased
			pl.refused = erasure.Refused()
		}
	}
	return nil
}

// takeQuotes takes the ids of orders by quote, and returns for which requests of the batch:
// of several with one quote it is the first. An id that another replica is just taking, or
// price is just told about, is waited for.
func takeQuotes(ctx context.Context, tx *outbox.Tx, batch []*placement) (map[uuid.UUID]*placement, error) {
	first := make(map[uuid.UUID]*placement)
	var ids []uuid.UUID
	for _, pl := range batch {
		if id := pl.checkout.ID; pl.checkout.Quote != nil && first[id] == nil {
			first[id], ids = pl, append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := tx.Query(ctx, `
		insert into quoted_orders (order_id, placed) select id, true from unnest($1::uuid[]) id order by id
		on conflict do nothing returning order_id`, ids)
	if err != nil {
		return nil, fmt.Errorf("take quotes: %w", err)
	}
	free, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, fmt.Errorf("take quotes: %w", err)
	}
	taken := make(map[uuid.UUID]*placement, len(free))
	for _, id := range free {
		taken[id] = first[id]
	}
	return taken, nil
}

// returnQuotes gives up the ids of those whose idempotency key another order has.
func returnQuotes(ctx context.Context, tx *outbox.Tx, taken map[uuid.UUID]*placement, fresh []uuid.UUID) error {
	var unused []uuid.UUID
	for id := range taken {
		if !slices.Contains(fresh, id) {
			unused = append(unused, id)
		}
	}
	if len(unused) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, `delete from quoted_orders where order_id = any($1)`, unused); err != nil {
		return fmt.Errorf("return quotes: %w", err)
	}
	return nil
}

func announce(tx *outbox.Tx, batch []*placement, taken map[uuid.UUID]*placement, added []uuid.UUID) error {
	isNew := make(map[uuid.UUID]bool, len(added))
	for _, id := range added {
		isNew[id] = true
	}
	for _, pl := range batch {
		if c := pl.checkout; !isNew[c.ID] || c.Quote != nil && taken[c.ID] != pl {
			continue
		}
		pl.placed = pl.checkout
		if err := tx.Emit(pl.checkout.TraceParent, pl.checkout.Created(pl.paymentToken)); err != nil {
			return err
		}
	}
	return nil
}

// findEarlier finds the checkouts that bear the keys or the quotes of the others already.
func findEarlier(ctx context.Context, db aggregate.Querier, batch []*placement) error {
	var customers, keys []string
	var quotes []uuid.UUID
	for _, pl := range batch {
		if pl.placed == nil {
			customers, keys = append(customers, pl.checkout.CustomerID), append(keys, pl.checkout.IdempotencyKey)
			quotes = append(quotes, pl.checkout.ID)
		}
	}
	earlier, err := checkouts.Select(ctx, db, `
		where id in (
			select c.id from checkouts c join unnest($1::text[], $2::text[]) as w(customer, key)
				on (c.customer_id, c.idempotency_key) = (w.customer, w.key)
			union select unnest($3::uuid[]))`, customers, keys, quotes)
	if err != nil {
		return err
	}
	byKey, byID := make(map[orderKey]*Checkout, len(earlier)), make(map[uuid.UUID]*Checkout, len(earlier))
	for _, c := range earlier {
		byKey[keyOf(c)], byID[c.ID] = c, c
	}
	for _, pl := range batch {
		if pl.placed != nil {
			continue
		}
		pl.placed = byKey[keyOf(pl.checkout)]
		// A quote that was not verified yet may have the id of anybody's order.
		if c := byID[pl.checkout.ID]; pl.placed == nil && c != nil && c.CustomerID == pl.checkout.CustomerID {
			pl.placed = c
		}
	}
	return nil
}
