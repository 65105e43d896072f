// Package audit is what catalog lets auditors read of its books.
package audit

import (
	"context"

	"quadrille.internal/platform/audit"
)

// live is what the engine postgres finds products in; nothing where another engine is used.
const live = `
	with live as (
		select d.* from search_documents_a d where exists (select from search_indexes where engine = 'postgres' and status = 'live' and not stale and name = 'a')
		union all
		select d.* from search_documents_b d where exists (select from search_indexes where engine = 'postgres' and status = 'live' and not stale and name = 'b')),
	settled as (
		select p.* from products p
		where exists (select from search_indexes where engine = 'postgres' and status = 'live' and not stale)
			and not exists (select from search_changes c where c.product_id = p.id))`

// Books are those of catalog.
var Books = audit.Books{
	Busy: `select exists (select from search_changes)`,
	Rules: []audit.Rule{
		{
			Name: "the search index has what is published", Unit: "products", Count: `select count(*) from products`,
			Faults: live + `
				select p.id, case
					when p.state <> 'published' then 'is ' || p.state || ', and is found'
					when d.product_id is null or d.deleted then 'is published, and is not found'
					else format('has version %s, and version %s is found', p.version, d.revision) end
				from settled p left join live d on d.product_id = p.id
				where case when p.state = 'published' then d.product_id is null or d.deleted or d.revision <> p.version
					else d.product_id is not null and not d.deleted end
				order by p.id`,
		},
		{
			Name: "the search index knows what is in stock", Unit: "products", Count: `select count(*) from products where state = 'published'`,
			Faults: live + `
				select p.id, format('in stock: %s, but found as %s', s.in_stock, d.in_stock)
				from settled p join live d on d.product_id = p.id
				cross join lateral (
					select coalesce(bool_or((v.value ->> 'in_stock')::boolean), false) as in_stock
					from product_skus k left join stock_view v on v.key = k.sku where k.product_id = p.id) s
				where p.state = 'published' and not d.deleted and d.in_stock <> s.in_stock
				order by p.id`,
		},
		{
			// The shop's currency is a setting, which the books do not have.
			Name: "the search index knows what products cost", Unit: "products", Count: `select count(*) from products where state = 'published'`,
			Faults: live + `,
				costs as materialized (
					select k.product_id, c ->> 'currency' as currency, min((c ->> 'amount')::bigint) as amount
					from product_skus k join price_view v on v.key = k.sku cross join jsonb_array_elements(v.value -> 'prices') c
					group by 1, 2)
				select p.id, format('the lowest prices are %s, but found as %s', coalesce((
					select string_agg(format('%s %s', amount, currency), ', ' order by currency) from costs where product_id = p.id), 'none'),
					coalesce(d.price::text, 'none'))
				from settled p join live d on d.product_id = p.id
				where p.state = 'published' and not d.deleted and case
					when d.price is not null then not exists (select from costs c where c.product_id = p.id and c.amount = d.price)
					else (select count(distinct currency) from costs) = 1 and exists (select from costs c where c.product_id = p.id) end
				order by p.id`,
		},
		{
			Name: "every SKU belongs to its product", Unit: "SKUs", Count: `select count(*) from product_skus`,
			Faults: `
				with named as (select p.id, v ->> 'sku' as sku from products p, jsonb_array_elements(p.variants) v)
				select coalesce(n.sku, k.sku), format('variant of %s, listed for %s', n.id, k.product_id)
				from named n full join product_skus k on k.sku = n.sku and k.product_id = n.id
				where n.id is null or k.sku is null
				order by 1`,
		},
	},
}

// Copy is what catalog shows of something that another service owns.
type Copy struct {
	SKU     string
	Version int64
	State   string
}

// Stocks reads the copies of what inventory has published, by SKU.
func Stocks(ctx context.Context, db audit.DB, each func(Copy)) error {
	return audit.Each(ctx, db, `
		select key, version, case when (value ->> 'in_stock')::boolean then 'in stock' else 'sold out' end from stock_view order by key`, each)
}

// Prices reads the copies of what price has published, by SKU.
func Prices(ctx context.Context, db audit.DB, each func(Copy)) error {
	return audit.Each(ctx, db, `
		select key, version, coalesce((
			select string_agg(format('%s %s', p ->> 'amount', p ->> 'currency'), ', ' order by p ->> 'currency')
			from jsonb_array_elements(value -> 'prices') p), '')
		from price_view order by key`, each)
}
