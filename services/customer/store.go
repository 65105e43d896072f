package customer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/seal"
	"quadrille.internal/platform/sweep"
)

// record is what is kept of a customer, unsealed.
type record struct {
	Profile   Profile       `json:"profile"`
	Groups    []string      `json:"groups"`
	Addresses []KeptAddress `json:"addresses"`
	Consents  []Consent     `json:"consents"`
}

// store has the customers. It alone seals and unseals.
type store struct {
	pool *pgxpool.Pool
	log  *slog.Logger
	// master seals the data keys.
	master *seal.Box
	// older counts the data keys that an older master key seals.
	older atomic.Int64
}

var errNoCustomer = errors.New("no such customer")

// key returns a customer's data key, or errNoCustomer.
func (s *store) key(ctx context.Context, db aggregate.Querier, customerID string) (*dataKey, error) {
	rows, err := db.Query(ctx, `select sealed from data_keys where customer_id = $1`, customerID)
	if err != nil {
		return nil, fmt.Errorf("read a data key: %w", err)
	}
	sealed, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[[]byte])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errNoCustomer
	}
	if err != nil {
		return nil, fmt.Errorf("read a data key: %w", err)
	}
	return openDataKey(s.master, customerID, sealed)
}

// keyOrNew is key, for a customer whose first data this is as well. The customer is locked.
func (s *store) keyOrNew(ctx context.Context, tx *outbox.Tx, customerID string) (*dataKey, error) {
	key, err := s.key(ctx, tx, customerID)
	if !errors.Is(err, errNoCustomer) {
		return key, err
	}
	key, sealed, err := newDataKey(s.master, customerID)
	if err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, `insert into data_keys (customer_id, sealed) values ($1, $2)`, customerID, sealed); err != nil {
		return nil, fmt.Errorf("add a data key: %w", err)
	}
	profile, err := key.seal("profile", Profile{})
	if err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, `insert into customers (id, profile, created_at, changed_at) values ($1, $2, $3, $3)`,
		customerID, profile, tx.Now); err != nil {
		return nil, fmt.Errorf("add a customer: %w", err)
	}
	return key, nil
}

func addressPlace(id uuid.UUID) string { return "address " + id.String() }

// load returns what is kept of a customer, or errNoCustomer.
func (s *store) load(ctx context.Context, db aggregate.Querier, customerID string) (*record, error) {
	key, err := s.key(ctx, db, customerID)
	if err != nil {
		return nil, err
	}
	r := &record{}
	rows, err := db.Query(ctx, `select profile, groups from customers where id = $1`, customerID)
	if err != nil {
		return nil, fmt.Errorf("read a customer: %w", err)
	}
	var profile []byte
	if _, err := pgx.ForEachRow(rows, []any{&profile, &r.Groups}, func() error {
		return key.open("profile", profile, &r.Profile)
	}); err != nil {
		return nil, fmt.Errorf("read a customer: %w", err)
	}
	if r.Addresses, err = loadAddresses(ctx, db, key); err != nil {
		return nil, err
	}
	rows, err = db.Query(ctx, `select distinct on (purpose) purpose, granted, changed_at from consents
		where customer_id = $1 order by purpose, changed_at desc`, customerID)
	if err != nil {
		return nil, fmt.Errorf("read consents: %w", err)
	}
	if r.Consents, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Consent]); err != nil {
		return nil, fmt.Errorf("read consents: %w", err)
	}
	return r, nil
}

func loadAddresses(ctx context.Context, db aggregate.Querier, key *dataKey) ([]KeptAddress, error) {
	rows, err := db.Query(ctx, `select id, sealed, added_at from addresses
		where customer_id = $1 and removed_at is null order by added_at, id`, key.customerID)
	if err != nil {
		return nil, fmt.Errorf("read addresses: %w", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a KeptAddress, err error) {
		var sealed []byte
		if err := row.Scan(&a.ID, &sealed, &a.AddedAt); err != nil {
			return a, err
		}
		return a, key.open(addressPlace(a.ID), sealed, &a.Address)
	})
	if err != nil {
		return nil, fmt.Errorf("read addresses: %w", err)
	}
	return found, nil
}

// address returns one address, and whether the customer removed it from the list. Without
// an error it may be nil: there is none.
func (s *store) address(ctx context.Context, db aggregate.Querier, customerID string, id uuid.UUID) (a *Address, removed bool, err error) {
	rows, err := db.Query(ctx, `
		select a.sealed, a.removed_at is not null, k.sealed
		from addresses a join data_keys k using (customer_id) where a.customer_id = $1 and a.id = $2`, customerID, id)
	if err != nil {
		return nil, false, fmt.Errorf("read an address: %w", err)
	}
	var sealed, by []byte
	_, err = pgx.ForEachRow(rows, []any{&sealed, &removed, &by}, func() error {
		key, err := openDataKey(s.master, customerID, by)
		if err != nil {
			return err
		}
		a = &Address{}
		return key.open(addressPlace(id), sealed, a)
	})
	if err != nil {
		return nil, false, fmt.Errorf("read an address: %w", err)
	}
	return a, removed, nil
}

const (
	resealEvery   = time.Minute
	resealTimeout = 30 * time.Second
	resealBatch   = 200
)

// reseal seals by the current master key what the one before sealed, until ctx ends.
func (s *store) reseal(ctx context.Context) error {
	return sweep.New(sweep.Config{Name: "data keys of an older master key", Every: resealEvery, Timeout: resealTimeout, Log: s.log}, s.resealSome).Run(ctx)
}

func (s *store) resealSome(ctx context.Context) (more bool, err error) {
	rows, err := s.pool.Query(ctx, `select customer_id, sealed from data_keys where substring(sealed for 4) <> $1 limit $2`,
		s.master.KeyID(), resealBatch)
	if err != nil {
		return false, fmt.Errorf("read data keys: %w", err)
	}
	type key struct {
		customerID string
		sealed     []byte
	}
	found, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (k key, err error) { return k, r.Scan(&k.customerID, &k.sealed) })
	s.older.Store(int64(len(found)))
	if err != nil || len(found) == 0 {
		return false, err
	}
	var batch pgx.Batch
	for _, k := range found {
		again, err := reseal(s.master, k.customerID, k.sealed)
		if err != nil {
			return false, fmt.Errorf("seal data keys by the new master key: %w", err)
		}
		batch.Queue(`update data_keys set sealed = $3 where customer_id = $1 and sealed = $2`, k.customerID, k.sealed, again)
	}
	if err := s.pool.SendBatch(ctx, &batch).Close(); err != nil {
		return false, fmt.Errorf("seal data keys by the new master key: %w", err)
	}
	s.log.InfoContext(ctx, "data keys are sealed by the new master key", "keys", len(found))
	return true, nil
}

// loadGroups returns a customer's groups, in order, and how often they changed.
func loadGroups(ctx context.Context, db aggregate.Querier, customerID string) (groups []string, version int64, err error) {
	rows, err := db.Query(ctx, `select groups, groups_version from customers where id = $1`, customerID)
	if err != nil {
		return nil, 0, fmt.Errorf("read groups: %w", err)
	}
	if _, err := pgx.ForEachRow(rows, []any{&groups, &version}, func() error { return nil }); err != nil {
		return nil, 0, fmt.Errorf("read groups: %w", err)
	}
	return groups, version, nil
}

// sameGroups reports whether both name the same, and returns the wanted ones in order, once each.
func sameGroups(had, wanted []string) ([]string, bool) {
	wanted = slices.Clone(wanted)
	slices.Sort(wanted)
	wanted = slices.Compact(wanted)
	return wanted, slices.Equal(had, wanted)
}
