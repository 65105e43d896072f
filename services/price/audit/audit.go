// Package audit is what price lets auditors read of its books.
package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events/price"
	"quadrille.internal/platform/audit"
	"quadrille.internal/services/price/book"
	"quadrille.internal/services/price/pricing"
)

// Books are those of price.
var Books = audit.Books{
	Busy: `select exists (select from voucher_uses where status = 'held') or exists (select from public_prices_changes)`,
	Story: audit.MomentsOf(`
		select held_at as at, 'voucher held' as what, code as detail, false as bad from voucher_uses where order_id = $1
		union all
		select ended_at, 'voucher ' || case status when 'redeemed' then 'redeemed' else 'given back' end, code, false
		from voucher_uses where order_id = $1 and ended_at is not null`),
	Rules: []audit.Rule{
		{
			Name: "vouchers are used as often as orders say", Unit: "vouchers", Count: `select count(*) from vouchers`,
			Faults: `
				with used as (
					select code, count(*) filter (where status = 'held') as held, count(*) filter (where status = 'redeemed') as redeemed
					from voucher_uses group by code)
				select code, format('%s held and %s redeemed, but orders hold %s and redeemed %s',
					v.held, v.redeemed, coalesce(u.held, 0), coalesce(u.redeemed, 0))
				from vouchers v left join used u using (code)
				where (v.held, v.redeemed) is distinct from (coalesce(u.held, 0), coalesce(u.redeemed, 0))
				order by code`,
		},
		{
			Name: "vouchers are not used more often than they may be", Unit: "vouchers", Count: `select count(*) from vouchers`,
			Faults: `
				select v.code, format('%s orders, but %s uses', count(*), v.max_uses)
				from vouchers v join voucher_uses u on u.code = v.code and u.status in ('held', 'redeemed')
				group by v.code having count(*) > v.max_uses order by v.code`,
		},
		{
			Name: "each revision of the price book is there", Unit: "revisions", Count: `select count(*) from revisions`,
			Faults: `
				select n::text, 'is missing' from book b, generate_series(1, b.revision) n
				where not exists (select from revisions r where r.id = n)
				union all
				select kind || ' ' || name, format('is of revision %s, which is not made', since)
				from documents where since > (select revision from book)
				union all
				select sku || ' in ' || list, format('is of revision %s, which is not made', since)
				from prices where since > (select revision from book)
				order by 1`,
		},
	},
}

// Use is what price has of an order with a voucher.
type Use struct {
	OrderID uuid.UUID
	Code    string
	Status  string
}

// Uses reads all uses of vouchers, or, unless ids is nil, those of some orders.
func Uses(ctx context.Context, db audit.DB, ids []uuid.UUID) (*audit.Rows[Use], error) {
	return audit.Read(ctx, db, `select id, code, status from (select order_id as id, code, status from voucher_uses) u`+audit.ByID, ids,
		func(u *Use) uuid.UUID { return u.OrderID })
}

// Public is what price has published of a SKU: amounts by currency, as a text.
type Public struct {
	SKU     string
	Version int64
	Prices  string
}

// Published reads all of them, sorted by SKU.
func Published(ctx context.Context, db audit.DB, each func(Public)) error {
	return audit.Each(ctx, db, `
		select key, version, coalesce((
			select string_agg(format('%s %s', p ->> 'amount', p ->> 'currency'), ', ' order by p ->> 'currency')
			from jsonb_array_elements(value -> 'prices') p), '')
		from public_prices where version > 0 order by key`, each)
}

// Recomputer computes quotes again from the price book as it was.
type Recomputer struct {
	db        audit.DB
	revisions map[int64]revision
}

// revision is the price book of one revision, and when the next one took its place, if it has.
type revision struct {
	*book.Rules
	replaced *time.Time
}

const (
	// maxKept bounds the revisions that a Recomputer keeps. Orders come by the time of their
	// quotes, so that those of a revision are close to one another.
	maxKept = 100
	// maxLag is how long after it was replaced a revision may still be quoted: clocks differ, and
	// a change may wait for others between its time and its commit.
	maxLag = 5 * time.Minute
)

// NewRecomputer returns a Recomputer. It keeps the revisions that it met last.
func NewRecomputer(db audit.DB) *Recomputer {
	return &Recomputer{db, make(map[int64]revision)}
}

func (r *Recomputer) revision(ctx context.Context, id int64) (revision, error) {
	if kept, found := r.revisions[id]; found {
		return kept, nil
	}
	rules, err := book.RulesAt(ctx, r.db, id)
	if err != nil {
		return revision{}, err
	}
	read := revision{Rules: rules}
	if err := r.db.QueryRow(ctx, `select min(made_at) from revisions where id = $1 + 1`, id).Scan(&read.replaced); err != nil {
		return revision{}, fmt.Errorf("read when revision %d was replaced: %w", id, err)
	}
	if len(r.revisions) == maxKept {
		clear(r.revisions)
	}
	r.revisions[id] = read
	return read, nil
}

// Check computes a quote again and says what is not as it was; "" is nothing. The voucher of
// the quote is not counted here: the rules of Books do that.
func (r *Recomputer) Check(ctx context.Context, q *price.Quote) (problem string, err error) {
	rules, err := r.revision(ctx, q.Version)
	switch {
	case err != nil:
		return "", err
	case rules.Revision != q.Version:
		return fmt.Sprintf("there is no revision %d of the price book", q.Version), nil
	case rules.replaced != nil && q.IssuedAt.Sub(*rules.replaced) > maxLag:
		return fmt.Sprintf("it is of revision %d of the price book, which was replaced %s before", q.Version, q.IssuedAt.Sub(*rules.replaced).Round(time.Second)), nil
	}
	basket := pricing.BasketOf(q)
	goods, err := book.GoodsAt(ctx, r.db, q.Version, book.SKUs(basket), basket.Voucher)
	if err != nil {
		return "", err
	}
	again, err := pricing.Compute(basket, rules.Book(rules.Taxes, goods.Entries, goods.Voucher), q.IssuedAt)
	var refused *pricing.Refusal
	switch {
	case errors.As(err, &refused):
		return "by the price book it cannot be bought: " + refused.Message, nil
	case err != nil:
		return "", err
	case again.Total != q.Total:
		return fmt.Sprintf("it costs %d, but by the price book %d", q.Total, again.Total), nil
	case !pricing.Same(q, again):
		return "its lines, discounts, shipping or tax are not those of the price book", nil
	}
	return "", nil
}
