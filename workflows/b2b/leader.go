package b2b

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const (
	// leaseFor is how long a leader that says nothing more stays one.
	leaseFor = 5 * time.Second
	// claimFor is how long what a sweep found is left to the replica that found it.
	claimFor    = 30 * time.Second
	noteTimeout = 3 * time.Second
	// resignTimeout is shorter: who stops has little time, and the lease ends by itself.
	resignTimeout = time.Second
	// A leader whose sidecar takes nothing for failsFor gives up the lease, and takes
	// it again only when nobody else has within yieldFor.
	failsFor = 10 * time.Second
	yieldFor = 2 * time.Second
)

// One replica leads: its relay alone looks for what was not heard. The lease is a
// row, by the database's clock, and every statement of a leader asks for it: who has
// lost it changes nothing any more. An advisory lock would do the same only where a
// session is a connection, which it is not behind a pooler, and is kept by a machine
// that went away until TCP notices.
const leads = ` exists (select from relay_leader where one and holder = $1 and until > clock_timestamp())`

// lead takes or renews the lease.
func (r *relay) lead(ctx context.Context) (bool, error) {
	var free time.Duration // how long the lease must have been
	if r.yields {
		free = yieldFor
	}
	leads, err := moved(r.pool.Exec(ctx, `
		update relay_leader set holder = $1, until = clock_timestamp() + $2
		where one and (holder = $1 and not $4::boolean or until < clock_timestamp() - $3::interval)`, r.holder, leaseFor, free, r.yields))
	r.count.leads.Store(0)
	if err != nil {
		return false, fmt.Errorf("lead: %w", err)
	}
	if leads {
		r.yields = false
		r.count.leads.Store(1)
	}
	return leads, nil
}

// yield lets a replica lead that can reach its sidecar, if this one cannot.
func (r *relay) yield(ctx context.Context, now time.Time) error {
	since := r.failing.Load()
	if since == 0 || now.Sub(time.Unix(0, since)) < failsFor || r.count.leads.Load() == 0 {
		return nil
	}
	if _, err := r.pool.Exec(ctx, `update relay_leader set until = clock_timestamp() where one and holder = $1`, r.holder); err != nil {
		return fmt.Errorf("give up the lead: %w", err)
	}
	r.log.WarnContext(ctx, "relay gives up the lead: its sidecar takes nothing", "failing_since", time.Unix(0, since))
	r.yields = true
	r.failing.Store(now.UnixNano()) // as leader again it gets as long
	return nil
}

// resign lets another replica lead at once.
func (r *relay) resign(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignTimeout)
	defer cancel()
	r.count.leads.Store(0)
	if _, err := r.pool.Exec(ctx, `update relay_leader set until = 'epoch' where one and holder = $1`, r.holder); err != nil {
		r.log.WarnContext(ctx, "relay lease not given up, it ends by itself", "err", err)
	}
}

// takeDue takes up a batch of what was not heard of, if this replica leads, and reports
// whether there may be more.
func (r *relay) takeDue(ctx context.Context, now time.Time) (more bool, err error) {
	if err := r.yield(ctx, now); err != nil {
		return false, err
	}
	// Before each claim: a long sweep must not outlive its lease.
	leader, err := r.lead(ctx)
	room := cap(r.due) - len(r.due)
	if err != nil || !leader || room == 0 {
		return false, err
	}
	found, err := r.claim(ctx, now, room)
	if err != nil {
		return false, err
	}
	return len(found) == room, r.assign(ctx, found, now)
}

// assign has the work done that orders need.
func (r *relay) assign(ctx context.Context, found []dueOrder, now time.Time) error {
	var quiet []dueOrder
	for _, d := range found {
		queue := r.due
		switch d.judge(now) {
		case nothing:
			quiet = append(quiet, d)
			continue
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
	return r.noteCalm(ctx, quiet, now)
}

// noteCalm records when to look again at orders for which there is nothing to do, all
// in one statement: after an upgrade every order that waits is looked at once.
func (r *relay) noteCalm(ctx context.Context, quiet []dueOrder, now time.Time) error {
	if len(quiet) == 0 {
		return nil
	}
	ids, versions, next := make([]uuid.UUID, len(quiet)), make([]int64, len(quiet)), make([]*time.Time, len(quiet))
	for i, d := range quiet {
		ids[i], versions[i] = d.id, d.version
		_, next[i] = d.after(calm, now)
	}
	_, err := r.pool.Exec(ctx, `
		update orders o set next_check_at = c.at
		from unnest($2::uuid[], $3::bigint[], $4::timestamptz[]) c (id, version, at)
		where o.id = c.id and o.version = c.version and o.ended_at is null and`+leads, r.holder, ids, versions, next)
	return wrap("note orders that wait", err)
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
