// Package audit is what cart lets auditors read of its books.
package audit

import "quadrille.internal/platform/audit"

// Books are those of cart. Carts that wait to be said abandoned are no work that is left:
// they wait for their time.
var Books = audit.Books{
	Customers: []audit.Column{{Table: "carts", Name: "customer_id"}},
	Story: audit.MomentsOf(`
		select heard_at as at, case when cart_id is null then 'heard that the order ended' else 'cart is being ordered' end as what,
			coalesce('cart ' || cart_id, '') as detail, false as bad
		from cart_orders where id = $1`),
	Rules: []audit.Rule{
		{
			Name: "carts have well-formed lines, one for each SKU", Unit: "carts", Count: `select count(*) from carts`,
			Faults: `
				select c.id::text, format('%s lines of %s SKUs, the least has %s', count(*), count(distinct l.sku), min(l.quantity))
				from carts c, jsonb_to_recordset(c.lines) l (sku text, quantity bigint)
				group by c.id
				having count(*) <> count(distinct l.sku) or count(*) > 200 or min(l.quantity) < 1
				order by c.id`,
		},
		{
			// An order settles within its quarter of an hour: what is open for longer is
			// an order whose end was never heard, and its lines cannot be bought.
			Name: "orders of carts end within a day", Unit: "orders", Count: `select count(*) from cart_orders where verdict = ''`,
			Faults: `
				select id::text, format('cart %s is being ordered since %s', cart_id, heard_at)
				from cart_orders where verdict = '' and heard_at < now() - interval '1 day' order by id`,
		},
	},
}
