package price

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events/price"
	"quadrille.internal/platform/quote"
	"quadrille.internal/services/price/book"
	"quadrille.internal/services/price/pricing"
)

// quoter computes quotes by the book as it is, and signs them.
type quoter struct {
	db       book.DB
	keys     *keyring
	validity time.Duration
	now      func() time.Time
	// taxes are those of the book, unless others are set.
	taxes pricing.Taxes
	// rules are those that were read last. Each quote says whether there are newer ones.
	rules atomic.Pointer[book.Rules]
}

// rereads bounds how often the rules are read again while operators change them.
const rereads = 5

// errBusy says that the book changed at each attempt.
var errBusy = errors.New("the price book changes too fast to be read")

// bookFor reads what a basket needs, all of one revision, and how often its voucher can
// still be used.
func (q *quoter) bookFor(ctx context.Context, b pricing.Basket) (*pricing.Book, int64, error) {
	for range rereads {
		goods, err := book.GoodsNow(ctx, q.db, book.SKUs(b), b.Voucher)
		if err != nil {
			return nil, 0, err
		}
		rules := q.rules.Load()
		if rules == nil || rules.Revision != goods.Revision {
			if rules, err = book.RulesNow(ctx, q.db); err != nil {
				return nil, 0, err
			}
			q.rules.Store(rules)
		}
		if rules.Revision == goods.Revision {
			taxes := q.taxes
			if taxes == nil {
				taxes = rules.Taxes
			}
			return rules.Book(taxes, goods.Entries, goods.Voucher), goods.Left, nil
		}
	}
	return nil, 0, errBusy
}

// ask says whose a quote is.
type ask struct {
	id                 uuid.UUID
	customerID, cartID string
	basket             pricing.Basket
	// unused refuses a voucher that is used up. Where it is held, the hold decides.
	unused bool
}

// compute returns what a basket costs now. A basket that cannot be bought is a
// pricing.Refusal.
func (q *quoter) compute(ctx context.Context, a ask) (*price.Quote, error) {
	b, left, err := q.bookFor(ctx, a.basket)
	if err != nil {
		return nil, err
	}
	now := q.now().UTC().Truncate(time.Microsecond)
	computed, err := pricing.Compute(a.basket, b, now)
	if err != nil {
		return nil, err
	}
	if a.basket.Voucher != "" && left < 1 && a.unused {
		return nil, &pricing.Refusal{Code: pricing.VoucherUsedUp, Message: "Voucher " + a.basket.Voucher + " is used up."}
	}
	computed.ID, computed.CustomerID, computed.CartID = a.id, a.customerID, a.cartID
	computed.IssuedAt, computed.ExpiresAt = now, now.Add(q.validity)
	return computed, nil
}

func (q *quoter) sign(ctx context.Context, computed *price.Quote) (string, error) {
	key, err := q.keys.signer(ctx, computed.IssuedAt)
	if err != nil {
		return "", err
	}
	return quote.Sign(key, computed)
}

// settled is what an order of a quote costs.
type settled struct {
	// quote is what must be ordered, and token its signed form.
	quote *price.Quote
	token string
	// dearer is what the same costs now, where the quote is not valid any more.
	dearer *price.Quote
}

// settle decides what an order of a quote costs now: what the quote says while it is valid,
// less where prices fell, and after its end what it costs then, unless that is more.
func (q *quoter) settle(ctx context.Context, given *price.Quote, token string) (*settled, error) {
	current, err := q.compute(ctx, ask{
		id: given.ID, customerID: given.CustomerID, cartID: given.CartID, basket: pricing.BasketOf(given),
	})
	valid := given.Valid(q.now())
	var refused *pricing.Refusal
	switch {
	case valid && err == nil && current.Total >= given.Total,
		valid && errors.As(err, &refused):
		return &settled{quote: given, token: token}, nil
	case err != nil:
		return nil, err
	case current.Total > given.Total:
		return &settled{dearer: current}, nil
	}
	signed, err := q.sign(ctx, current)
	if err != nil {
		return nil, fmt.Errorf("settle quote %s: %w", given.ID, err)
	}
	return &settled{quote: current, token: signed}, nil
}
