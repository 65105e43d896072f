package cart

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtx"
)

var (
	carts  = aggregate.NewTable[Cart, uuid.UUID]("carts")
	orders = aggregate.NewTable[Ordering, uuid.UUID]("cart_orders")
)

// newToken returns a guest's token, which nobody can guess, and its hash, which is stored:
// who reads the database cannot use the carts in it.
func newToken() (token, hash string) {
	token = rand.Text()
	return token, hashOf(token)
}

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// customerOf returns who makes the request, or "" for a guest.
func customerOf(ctx context.Context) string {
	c, _ := caller.From(ctx)
	return c.ID
}

// mayUse reports whether the cart is the caller's, or the guest's whose token this is.
func (c *Cart) mayUse(ctx context.Context, token string) bool {
	if c.CustomerID != nil {
		return caller.Is(ctx, *c.CustomerID)
	}
	return token != "" && *c.TokenHash == hashOf(token)
}

// noCart is the answer for carts of others too, so that ids cannot be tried out.
func noCart() error {
	return fault.New(fault.NotFound, "cart_not_found", "There is no such cart, or Cart-Token is not its token; a guest's cart is deleted when it was not changed for long.")
}

type store struct {
	pool   *pgxpool.Pool
	outbox *outbox.Outbox
}

// state is a cart, with the orders that are open.
type state struct {
	*Cart
	open []*Ordering
	// retired are the SKUs that are no longer sold.
	retired map[string]bool
}

// ordering is what is being ordered of the cart.
func (s state) ordering() (lines []Line) {
	for _, o := range s.open {
		lines = add(lines, o.Lines)
	}
	return lines
}

// get returns a cart of the caller's, in one round trip.
func (s *store) get(ctx context.Context, id uuid.UUID, token string) (st state, err error) {
	var b pgx.Batch
	carts.SelectWith(b.Queue, func(found []*Cart) { st.Cart = first(found) }, `where id = $1`, id)
	st.complete(b.Queue, id)
	if err := s.pool.SendBatch(ctx, &b).Close(); err != nil {
		return st, fmt.Errorf("read a cart: %w", err)
	}
	if st.Cart == nil || !st.mayUse(ctx, token) {
		return state{}, noCart()
	}
	return st, nil
}

// complete has what else is known of a cart read with other statements, as queue of
// aggregate.Table.SelectWith.
func (s *state) complete(queue func(sql string, args ...any) *pgx.QueuedQuery, cart uuid.UUID) {
	orders.SelectWith(queue, func(open []*Ordering) { s.open = open }, openOf, cart)
	queue(retiredOf, cart).Query(func(rows pgx.Rows) (err error) {
		s.retired, err = readRetired(rows)
		return err
	})
}

// openOf selects the orders of a cart that are open.
const openOf = `where cart_id = $1 and verdict = '' order by id`

func openOrders(ctx context.Context, db aggregate.Querier, cart uuid.UUID) ([]*Ordering, error) {
	return orders.Select(ctx, db, openOf, cart)
}

// createGuest makes a guest's cart, and returns its token.
func (s *store) createGuest(ctx context.Context) (st state, token string, err error) {
	token, hash := newToken()
	err = s.outbox.InTx(ctx, func(_ context.Context, tx *outbox.Tx) error {
		st.Cart = newCart(tx.Now)
		st.TokenHash = &hash
		return carts.Save(tx, map[uuid.UUID]*Cart{st.ID: st.Cart})
	})
	return st, token, err
}

// own returns the cart of a customer, which is made if there is none.
func (s *store) own(ctx context.Context, customer string) (st state, err error) {
	err = s.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		if st.Cart, err = ownCart(ctx, tx.Tx, customer, tx.Now); err != nil {
			return err
		}
		st.complete(tx.Last, st.ID)
		return nil
	})
	return st, err
}

// ownCart returns the cart of a customer, locked; it is made if there is none.
func ownCart(ctx context.Context, tx *pgtx.Tx, customer string, now time.Time) (*Cart, error) {
	const own = `where customer_id = $1 for update`
	found, err := carts.Select(ctx, tx, own, customer)
	if err != nil || len(found) > 0 {
		return first(found), err
	}
	asked, err := erasure.Asked(ctx, tx, customer)
	if err != nil {
		return nil, err
	}
	if asked {
		return nil, erasure.Refused()
	}
	c := newCart(now)
	if _, err := tx.Exec(ctx, `
		insert into carts (id, customer_id, lines, created_at, changed_at, version) values ($1, $2, '[]', $3, $3, 1)
		on conflict do nothing`, c.ID, customer, now); err != nil {
		return nil, err
	}
	found, err = carts.Select(ctx, tx, own, customer) // another request may have been faster
	return first(found), err
}

func first(found []*Cart) *Cart {
	if len(found) == 0 {
		return nil
	}
	return found[0]
}

// change changes a cart of the caller's. version is the one that it was read as, or 0 for any.
func (s *store) change(ctx context.Context, id uuid.UUID, token string, version int64, change func(*Cart, time.Time) error) (st state, err error) {
	err = s.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		found, err := carts.Select(ctx, tx, `where id = $1 for update`, id)
		if err != nil {
			return err
		}
		if st.Cart = first(found); st.Cart == nil || !st.mayUse(ctx, token) {
			return noCart()
		}
		if version != 0 && version != st.Version {
			return fault.New(fault.PreconditionFailed, "cart_changed", "The cart was changed since it was read; read it again.")
		}
		if err := change(st.Cart, tx.Now); err != nil {
			return err
		}
		if err := carts.Save(tx, map[uuid.UUID]*Cart{id: st.Cart}); err != nil {
			return err
		}
		st.complete(tx.Last, id)
		return nil
	})
	return st, err
}

// merge moves a guest's cart into the customer's. Where there is no such guest's cart, or
// the token is not its own, nothing is moved, and that is no error: a login must not fail
// for it. left is how many lines stay in the guest's cart.
func (s *store) merge(ctx context.Context, customer string, guest uuid.UUID, token string) (st state, left int, err error) {
	err = s.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		left = 0
		own, err := ownCart(ctx, tx.Tx, customer, tx.Now)
		if err != nil {
			return err
		}
		// A guest's cart is locked after a customer's, by everybody who locks both.
		found, err := carts.Select(ctx, tx, `where id = $1 and customer_id is null for update`, guest)
		if err != nil {
			return err
		}
		st.Cart = own
		from := first(found)
		if from == nil || !from.mayUse(ctx, token) {
			st.complete(tx.Last, own.ID)
			return nil
		}
		if st.open, err = openOrders(ctx, tx, own.ID); err != nil {
			return err
		}
		open, err := openOrders(ctx, tx, guest)
		if err != nil {
			return err
		}
		own.Merge(from, st.ordering(), state{open: open}.ordering(), tx.Now)
		left = len(from.Lines)
		if err := carts.Save(tx, map[uuid.UUID]*Cart{own.ID: own, guest: from}); err != nil {
			return err
		}
		st.complete(tx.Last, own.ID)
		return nil
	})
	return st, left, err
}
