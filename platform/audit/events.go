package audit

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// Event is an event where none should stay.
type Event struct {
	ID   uuid.UUID
	What string
}

const unpublished = `select id, topic || ' of ' || key from outbox`

// Unpublished returns the oldest events of a service's outbox, a thousand at most.
func Unpublished(ctx context.Context, db DB) ([]Event, error) {
	return All[Event](ctx, db, unpublished+` order by xid, id limit 1000`)
}

// StillUnpublished returns those of some events that are in the outbox yet.
func StillUnpublished(ctx context.Context, db DB, ids []uuid.UUID) ([]Event, error) {
	return All[Event](ctx, db, unpublished+` where id = any($1) order by xid, id`, ids)
}

// Parked returns the events that a service could not handle.
func Parked(ctx context.Context, db DB) ([]Event, error) {
	return All[Event](ctx, db,
		`select event_id, topic || ': ' || split_part(cause, E'\n', 1) from parked order by parked_at, event_id`)
}

// ParkedOf returns those of an order, as moments of its story.
func ParkedOf(ctx context.Context, db DB, order uuid.UUID) ([]Moment, error) {
	type moment struct {
		At               time.Time
		By, What, Detail string
	}
	found, err := All[moment](ctx, db, `
		select tried_at, consumer, topic || ' PARKED', 'event ' || event_id || ': ' || split_part(cause, E'\n', 1)
		from parked where position(convert_to($1, 'UTF8') in payload) > 0`, `"subject":"`+order.String()+`"`)
	if err != nil {
		return nil, err
	}
	moments := make([]Moment, len(found))
	for i, m := range found {
		moments[i] = Moment{At: m.At, By: m.By, What: m.What, Detail: m.Detail, Bad: true}
	}
	return moments, nil
}
