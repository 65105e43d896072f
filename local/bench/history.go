package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

const (
	historyChunk = 50_000
	historyDays  = 365 // how long ago the oldest order was placed
	inboxDays    = 14  // for how long, or a little more, an inbox keeps what it handled
)

// Fill adds n settled orders of the last year to the services' databases, and the
// inbox rows that there would still be of them: to measure what a long history costs.
// They are orders that were declined, so that the books of the payment provider,
// which hold nothing of them, agree. url is that of the role that owns a service's tables; told is
// how many orders there are so far.
func Fill(ctx context.Context, url func(service string) string, n int, told func(orders int)) error {
	conns := make(map[string]*pgx.Conn, len(histories))
	for service := range histories {
		conn, err := pgx.Connect(ctx, url(service))
		if err != nil {
			return fmt.Errorf("fill %s: %w", service, err)
		}
		defer conn.Close(context.WithoutCancel(ctx))
		conns[service] = conn
	}
	p := &past{until: time.Now().Add(-time.Hour), orders: n}
	for from := 0; from < n && ctx.Err() == nil; from += historyChunk {
		// A chunk is seen through, or orders would lack some of their books.
		if err := p.fill(context.WithoutCancel(ctx), conns, from, min(from+historyChunk, n)); err != nil {
			return err
		}
		told(min(from+historyChunk, n))
	}
	for service, conn := range conns { // as it would have been, long ago
		if _, err := conn.Exec(ctx, "vacuum (freeze, analyze) inbox, "+tables[service]); err != nil {
			return fmt.Errorf("vacuum %s: %w", service, err)
		}
	}
	return ctx.Err()
}

// past is a history that is being written.
type past struct {
	until  time.Time
	orders int
}

// fill writes orders from one number up to another.
func (p *past) fill(ctx context.Context, conns map[string]*pgx.Conn, from, to int) error {
	writing, ctx := errgroup.WithContext(ctx)
	for service, conn := range conns {
		writing.Go(func() error {
			if err := p.write(ctx, conn, service, from, to); err != nil {
				return fmt.Errorf("fill %s: %w", service, err)
			}
			return nil
		})
	}
	return writing.Wait()
}

func (p *past) write(ctx context.Context, conn *pgx.Conn, service string, from, to int) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx) //nolint:errcheck // after a commit there is nothing to roll back
	begin := p.until.AddDate(0, 0, -historyDays)
	step := p.until.Sub(begin) / time.Duration(p.orders)
	if _, err := tx.Exec(ctx, pastOrders, from, to-1, begin, step); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "insert into "+tables[service]+" "+histories[service]); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, pastEvents, service, heard[service], inboxDays); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// tables are those of orders.
var tables = map[string]string{"checkout": "checkouts", "inventory": "reservations", "payment": "payments", "order": "orders"}

// heard is how many events a service hears of an order that goes through.
var heard = map[string]int{"checkout": 1, "inventory": 2, "payment": 1, "order": 3}

// pastOrders are made up for one chunk: number, time, id and lines. Ids are UUIDs of
// version 7, which grow with time, and their random part comes from the number.
const pastOrders = `
	create temp table past on commit drop as
	select i, at, (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0')
			|| '7' || substr(hash, 1, 3) || '8' || substr(hash, 4, 15))::uuid as id,
		jsonb_build_array(jsonb_build_object('sku', 'bench-' || lpad((i % 10000)::text, 5, '0'), 'quantity', 2, 'unit_price', 450)) as lines,
		'00-' || hash || '-' || substr(hash, 5, 16) || '-01' as trace
	from (select i, $3::timestamptz + i * $4::interval as at, md5(i::text) as hash from generate_series($1::bigint, $2) i) n`

const whyDeclined = `'{"code": "payment_declined", "message": "Your payment was declined."}'::jsonb`

var histories = map[string]string{
	"checkout": `
		(id, idempotency_key, request_hash, customer_id, lines, amount, currency, traceparent, status, reason, placed_at, settled_at, version)
		select id, 'past-' || id, sha256(id::text::bytea), 'bench-' || i % 5000, lines, 900, 'GBP', trace, 'cancelled', ` + whyDeclined + `,
			at, at + interval '80 ms', 3
		from past order by i`,
	"inventory": `
		(id, status, verdict, allocations, traceparent, reserved_at, expires_at, ended_at, version)
		select id, 'released', 'release',
			jsonb_build_array(jsonb_build_object('sku', lines -> 0 ->> 'sku', 'warehouse', 'bench', 'quantity', 2)),
			trace, at, at + interval '15 min', at + interval '60 ms', 3
		from past order by i`,
	"payment": `
		(id, status, amount, currency, token, traceparent, cancelled, charge_id, refund_id, reason, attempts, last_error,
		requested_at, ended_at, version)
		select id, 'failed', 900, 'GBP', 'tok_decline', trace, true, '', '', ` + whyDeclined + `, 0, '', at, at + interval '40 ms', 3
		from past order by i`,
	"order": `
		(id, status, reason, customer_id, lines, amount, currency, traceparent,
		placed_at, reserved_at, released_at, payment_failed_at, settled_at, version)
		select id, 'cancelled', ` + whyDeclined + `, 'bench-' || i % 5000, lines, 900, 'GBP', trace,
			at, at, at + interval '60 ms', at + interval '40 ms', at + interval '50 ms', 4
		from past order by i`,
}

// pastEvents are the inbox rows of a chunk that would still be there.
const pastEvents = `
	insert into inbox (event_id, consumer, handled_at)
	select overlay(id::text placing lpad(to_hex(n), 4, '0') from 33 for 4)::uuid, $1, at
	from past, generate_series(1, $2) n
	where at > now() - make_interval(days => $3)
	order by i, n`
