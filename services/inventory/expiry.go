package inventory

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/sweep"
)

const (
	expireEvery   = time.Second
	expireBatch   = 500
	expireTimeout = 5 * time.Second
)

// expirer finds reservations whose time is up.
type expirer struct {
	outbox *outbox.Outbox
	log    *slog.Logger
}

// run looks for them until ctx ends.
func (x *expirer) run(ctx context.Context) error {
	due := sweep.New(sweep.Config{Name: "expiry", Every: expireEvery, Timeout: expireTimeout, Log: x.log},
		func(ctx context.Context) (bool, error) {
			n, err := x.expireOnce(ctx)
			return n == expireBatch, err
		})
	return due.Run(ctx)
}

// expireOnce expires up to expireBatch reservations. Replicas take different ones.
func (x *expirer) expireOnce(ctx context.Context) (n int, err error) {
	err = x.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		due, err := reservations.Select(ctx, tx, `
			where status = 'held' and expired_at is null and expires_at <= $1
			order by expires_at limit $2 for update skip locked`, tx.Now, expireBatch)
		if err != nil {
			return err
		}
		n = len(due)
		changed := make(map[uuid.UUID]*Reservation, n)
		for _, r := range due {
			e := r.Expire(tx.Now)
			if e == nil {
				continue
			}
			changed[r.ID] = r
			if err := tx.Emit(r.TraceParent, e); err != nil {
				return err
			}
		}
		return reservations.Save(tx, changed)
	})
	return n, err
}
