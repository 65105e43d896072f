package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// leaseFor is how long a leader that says nothing more stays one.
	leaseFor = 5 * time.Second
	// claimFor is how long what a sweep found is left to the replica that found it.
	claimFor    = 30 * time.Second
	noteTimeout = time.Second
)

// One replica leads: its relay alone looks for what was not heard. The lease is a
// row, by the database's clock, and every statement of a leader asks for it: who has
// lost it changes nothing any more. An advisory lock would do the same only where a
// session is a connection, which it is not behind a pooler, and is kept by a machine
// that went away until TCP notices.
const leads = ` exists (select from relay_leader where one and holder = $1 and until > clock_timestamp())`

// lead takes or renews the lease.
func (r *relay) lead(ctx context.Context) (bool, error) {
	tag, err := r.pool.Exec(ctx, `
		update relay_leader set holder = $1, until = clock_timestamp() + $2
		where one and (holder = $1 or until < clock_timestamp())`, r.holder, leaseFor)
	if err != nil {
		return false, fmt.Errorf("lead: %w", err)
	}
	r.count.leads.Store(tag.RowsAffected())
	return tag.RowsAffected() > 0, nil
}

// resign lets another replica lead at once.
func (r *relay) resign(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	r.count.leads.Store(0)
	if _, err := r.pool.Exec(ctx, `update relay_leader set until = 'epoch' where one and holder = $1`, r.holder); err != nil {
		r.log.WarnContext(ctx, "relay lease not given up, it ends by itself", "err", err)
	}
}

// sweep takes up what was not heard of, if this replica leads.
func (r *relay) sweep(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	leader, err := r.lead(ctx)
	if err != nil || !leader {
		return err
	}
	for {
		room := cap(r.due) - len(r.due)
		if room == 0 {
			return nil
		}
		found, err := r.claim(ctx, now, room)
		if err != nil {
			return err
		}
		for _, d := range found {
			r.assign(ctx, d, now)
		}
		if len(found) < room {
			return nil
		}
	}
}

// assign has done what is to be done with an order.
func (r *relay) assign(ctx context.Context, d dueOrder, now time.Time) {
	queue := r.due
	switch d.judge(now) {
	case nothing:
		r.note(ctx, d, calm)
		return
	case endsIt:
		queue = r.ends
	case tells:
	}
	select {
	case queue <- d:
	default:
		r.note(ctx, d, full)
	}
}

// claimSQL takes orders whose time has come, the longest due first. One that is just
// being changed is passed over: it moves.
const claimSQL = `
	with due as (
		select id from orders
		where ended_at is null and next_check_at <= $2 and` + leads + `
		order by next_check_at limit $4 for no key update skip locked)
	update orders o set next_check_at = $3
	from due left join gates g on g.id = due.id
	where o.id = due.id
	returning o.id, o.version, o.traceparent, o.status, o.started_at is not null, o.told_count, o.ends_count, g.state,
		case when o.status = 'awaiting_approval' and g.id is not null
			then coalesce(g.decided_at, least(g.remind_at, g.escalate_at, g.expire_at)) else o.moved_at end`

func (r *relay) claim(ctx context.Context, now time.Time, most int) ([]dueOrder, error) {
	rows, err := r.pool.Query(ctx, claimSQL, r.holder, now, now.Add(claimFor), most)
	if err != nil {
		return nil, fmt.Errorf("find unheard: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (d dueOrder, err error) {
		return d, row.Scan(&d.id, &d.version, &d.trace, &d.status, &d.started, &d.told, &d.ends, &d.gate, &d.late)
	})
	if err != nil {
		return nil, fmt.Errorf("find unheard: %w", err)
	}
	return list, nil
}

// confirm reports whether this replica still leads and the order has not moved, and
// if so keeps the order to itself for a while longer.
func (r *relay) confirm(ctx context.Context, d dueOrder) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	return moved(r.pool.Exec(ctx, `
		update orders set next_check_at = $4 where id = $2 and version = $3 and ended_at is null and`+leads,
		r.holder, d.id, d.version, time.Now().Add(claimFor)))
}

// note records what came of an order. One that has moved meanwhile keeps what it
// says by itself. If this fails the order is taken up again when the claim ends.
func (r *relay) note(ctx context.Context, d dueOrder, o outcomeOfTelling) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	now := time.Now()
	next, at := d.after(o, now)
	_, err := r.pool.Exec(ctx, `
		update orders set told_count = $4, ends_count = $5, next_check_at = $6,
			told_at = case when $7 then $8 else told_at end
		where id = $2 and version = $3 and ended_at is null and`+leads,
		r.holder, d.id, d.version, next.told, next.ends, at, o == told, now)
	if err != nil {
		r.log.WarnContext(ctx, "what was told is not noted", "order_id", d.id, "err", err)
	}
}
