package inbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/outbox"
)

// Replay handles a parked event once more, with its own id and trace. Its
// effects and its removal from the parked events commit together. If it fails
// again it stays parked, with the new cause, which is also returned.
func (in *Inbox) Replay(ctx context.Context, id uuid.UUID) error {
	m := new(Message)
	var fresh []Delivery
	err := in.cfg.Outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		p, err := queryParked(ctx, tx, in.cfg.Consumer, id, "for update")
		if err != nil {
			return err
		}
		*m = Message{Topic: p.Topic, Payload: p.Payload, attempts: 1}
		if err := in.open(ctx, m); err != nil {
			return err
		}
		defer m.span.End()
		if fresh, err = in.effect(ctx, tx, []*Message{m}, true); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `delete from parked where consumer = $1 and event_id = $2`, p.Consumer, p.EventID)
		return err
	})
	if err == nil {
		in.breaker.succeeded(ctx, fresh, time.Now())
		in.recount()
	}
	if err == nil || m.Payload == nil || errors.Is(err, ErrNotParked) {
		return err
	}
	p := parkedOf(in.cfg.Consumer, m, err)
	p.EventID = id
	if perr := updateParked(ctx, in.cfg.Pool, p); perr != nil {
		return fmt.Errorf("replay: %w (and the new cause was not noted: %w)", err, perr)
	}
	return fmt.Errorf("replay: %w", err)
}
