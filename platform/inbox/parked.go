package inbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtx"
)

// Parked is an event that could not be handled.
type Parked struct {
	Consumer    string    `json:"consumer"`
	EventID     uuid.UUID `json:"event_id"`
	Topic       string    `json:"topic"`
	Cause       string    `json:"cause"`
	Attempts    int       `json:"attempts"`
	TraceParent string    `json:"traceparent"`
	Payload     []byte    `json:"payload"`
	ParkedAt    time.Time `json:"parked_at"`
	TriedAt     time.Time `json:"tried_at"`
}

const maxCause = 4_000 // bytes; a panic brings its stack

// id is the event's, or one made of the content where that has none that can be
// used, so that the same message always has the same.
func (m *Message) id() uuid.UUID {
	if m.delivery.ID != uuid.Nil {
		return m.delivery.ID
	}
	return uuid.NewSHA1(uuid.NameSpaceOID, m.Payload)
}

// parkedOf makes the row of a message.
func parkedOf(consumer string, m *Message, cause error) Parked {
	p := Parked{
		Consumer: consumer, EventID: m.id(), Topic: storable(m.Topic), Cause: cause.Error(),
		Attempts: max(m.attempts, 1), TraceParent: storable(m.delivery.Trace), Payload: m.Payload,
	}
	if p.Payload == nil {
		p.Payload = []byte{} // an empty message, which must not become a NULL
	}
	if len(p.Cause) > maxCause {
		p.Cause = p.Cause[:maxCause]
	}
	p.Cause = storable(p.Cause)
	return p
}

// storable replaces what PostgreSQL does not take in a text: broken UTF-8, NUL.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "?")
}

func insertParked(ctx context.Context, pool *pgxpool.Pool, p Parked) error {
	_, err := pool.Exec(ctx, `
		insert into parked (consumer, event_id, topic, cause, attempts, traceparent, payload)
		values ($1, $2, $3, $4, $5, $6, $7)
		on conflict (consumer, event_id) do update
		set cause = excluded.cause, attempts = parked.attempts + excluded.attempts, tried_at = now()`,
		p.Consumer, p.EventID, p.Topic, p.Cause, p.Attempts, p.TraceParent, p.Payload)
	if err != nil {
		return fmt.Errorf("park event: %w", err)
	}
	return nil
}

// updateParked notes another failure of an event that is parked; one that was discarded
// or handled meanwhile stays so.
func updateParked(ctx context.Context, pool *pgxpool.Pool, p Parked) error {
	_, err := pool.Exec(ctx, `
		update parked set cause = $3, attempts = attempts + $4, tried_at = now()
		where consumer = $1 and event_id = $2`, p.Consumer, p.EventID, p.Cause, p.Attempts)
	if err != nil {
		return fmt.Errorf("note the cause: %w", err)
	}
	return nil
}

const parkedColumns = `consumer, event_id, topic, cause, attempts, traceparent, payload, parked_at, tried_at`

// Cursor is a place in the list of parked events.
type Cursor struct {
	ParkedAt time.Time
	EventID  uuid.UUID
	// Until bounds the list: what is parked after it is not in it. So a list comes to
	// its end however fast events are parked, or parked again.
	Until time.Time
}

// ListParked returns up to limit parked events behind a cursor, oldest first, and
// the cursor of the next, which is nil at the end. The zero Cursor is the start.
func (in *Inbox) ListParked(ctx context.Context, after Cursor, limit int) ([]Parked, *Cursor, error) {
	if after.Until.IsZero() {
		if err := in.cfg.Pool.QueryRow(ctx, `select now()`).Scan(&after.Until); err != nil {
			return nil, nil, fmt.Errorf("list parked events: %w", err)
		}
	}
	rows, err := in.cfg.Pool.Query(ctx, `select `+parkedColumns+` from parked
		where (parked_at, event_id) > ($1, $2) and parked_at <= $3
		order by parked_at, event_id limit $4`, after.ParkedAt, after.EventID, after.Until, limit)
	if err != nil {
		return nil, nil, fmt.Errorf("list parked events: %w", err)
	}
	list, err := pgtx.Collect(rows, pgx.RowToStructByPos[Parked])
	if err != nil {
		return nil, nil, fmt.Errorf("list parked events: %w", err)
	}
	if len(list) < limit {
		return list, nil, nil
	}
	last := list[len(list)-1]
	return list, &Cursor{ParkedAt: last.ParkedAt, EventID: last.EventID, Until: after.Until}, nil
}

// GetParked returns one parked event, or ErrNotParked.
func (in *Inbox) GetParked(ctx context.Context, id uuid.UUID) (Parked, error) {
	return queryParked(ctx, in.cfg.Pool, in.cfg.Consumer, id, "")
}

func queryParked(ctx context.Context, db querier, consumer string, id uuid.UUID, lock string) (Parked, error) {
	rows, err := db.Query(ctx,
		`select `+parkedColumns+` from parked where consumer = $1 and event_id = $2 `+lock, consumer, id)
	if err != nil {
		return Parked{}, fmt.Errorf("get parked event: %w", err)
	}
	p, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Parked])
	if errors.Is(err, pgx.ErrNoRows) {
		return p, ErrNotParked
	}
	return p, err
}

// ErrNoReason says that a parked event cannot be discarded without a reason.
var ErrNoReason = errors.New("say why the event is discarded")

// Discard takes an event out of the parked ones for good. It is kept with the
// reason and with who gave it.
func (in *Inbox) Discard(ctx context.Context, id uuid.UUID, by, reason string) error {
	if by, reason = strings.TrimSpace(by), strings.TrimSpace(reason); reason == "" || by == "" {
		return ErrNoReason
	}
	tag, err := in.cfg.Pool.Exec(ctx, `
		with discarded as (delete from parked where consumer = $1 and event_id = $2 returning `+parkedColumns+`)
		insert into parked_discards (`+parkedColumns+`, discarded_by, reason)
		select `+parkedColumns+`, $3, $4 from discarded`, in.cfg.Consumer, id, storable(by), storable(reason))
	switch {
	case err != nil:
		return fmt.Errorf("discard parked event: %w", err)
	case tag.RowsAffected() == 0:
		return ErrNotParked
	}
	in.recount()
	in.cfg.Log.InfoContext(ctx, "parked event discarded", "event_id", id, "by", by, "reason", reason)
	return nil
}

// Alarm returns why parking has stopped, and nil while all is well.
func (in *Inbox) Alarm() error { return in.breaker.err() }

// AcceptParking lets up to limit of the events that fail now be parked when they
// come again within some minutes, and returns how many that may be.
func (in *Inbox) AcceptParking(ctx context.Context, limit int) int {
	n := in.breaker.accept(ctx, limit, time.Now())
	in.cfg.Log.InfoContext(ctx, "failing events may be parked, as an operator wishes", "events", n)
	return n
}

const (
	watchEvery = 10 * time.Second
	// maxCounted is where the count of parked events ends, so that it stays cheap.
	maxCounted = 100_000
)

// watchLoop keeps the count of parked events and ends alarms whose events come no
// more.
func (in *Inbox) watchLoop(ctx context.Context) {
	every := time.NewTicker(watchEvery)
	defer every.Stop()
	for {
		n, err := countParked(ctx, in.cfg.Pool)
		switch {
		case err == nil:
			in.stored.Store(n)
		case ctx.Err() == nil:
			in.cfg.Log.WarnContext(ctx, "parked events cannot be counted, will try again", "err", err)
		}
		in.breaker.tend(ctx, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		case <-in.changed:
			if pgtx.Sleep(ctx, time.Second) != nil { // many change at once
				return
			}
		}
	}
}

// recount asks for another count of the parked events.
func (in *Inbox) recount() {
	select {
	case in.changed <- struct{}{}:
	default: // asked for already
	}
}

func countParked(ctx context.Context, pool *pgxpool.Pool) (n int64, err error) {
	err = pool.QueryRow(ctx, `select count(*) from (select from parked limit $1) p`, maxCounted).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count parked events: %w", err)
	}
	return n, nil
}
