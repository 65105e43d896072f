// Package audit is what customer lets auditors read of its books. It reads no personal data,
// which is sealed.
package audit

import (
	"context"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/audit"
)

// Books are those of customer.
var Books = audit.Books{
	Rules: []audit.Rule{{
		Name: "erased customers have no data and no key", Unit: "erasures",
		Count: `select count(*) from erasure_requests where erased_at is not null`,
		Faults: `
			select encode(r.digest, 'hex'), format('erased, and there are rows in %s', string_agg(left_in.what, ', ' order by left_in.what))
			from erasure_requests r join (
				select 'data_keys' as what, sha256(convert_to(customer_id, 'UTF8')) as digest from data_keys
				union all select 'customers', sha256(convert_to(id, 'UTF8')) from customers
				union select 'addresses', sha256(convert_to(customer_id, 'UTF8')) from addresses
				union select 'consents', sha256(convert_to(customer_id, 'UTF8')) from consents) left_in using (digest)
			where r.erased_at is not null group by r.digest order by r.digest`,
	}, {
		Name: "every customer has a key", Unit: "customers", Count: `select count(*) from customers`,
		Faults: `
			select c.id, 'there is no data key: what is sealed cannot be read'
			from customers c left join data_keys k on k.customer_id = c.id where k.customer_id is null order by 1`,
	}, {
		Name: "customers are erased in time", Unit: "erasures",
		Count: `select count(*) from erasure_requests where ended_at is null`,
		Faults: `
			select r.customer_id, format('to be erased since %s, and %s services have answered: see quad erasure list', r.requested_at, count(a.holder))
			from erasure_requests r left join erasure_answers a using (digest)
			where r.ended_at is null and r.deadline < now() group by r.digest order by 1`,
	}},
}

// Restored returns the customers of whom there is data though others have erased them, as the
// SHA-256 of their ids say, and though nobody has asked here: the database, or a part of it,
// is from a backup of before the request.
func Restored(ctx context.Context, db audit.DB, erased [][]byte) ([]string, error) {
	rows, err := db.Query(ctx, `
		select id from (select id from customers union select customer_id from data_keys) kept
		cross join lateral (select sha256(convert_to(id, 'UTF8')) as digest) known
		where digest = any($1) and not exists (select from erasure_requests r where r.digest = known.digest) order by 1`, erased)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// Erased returns the customers whose erasure all services have answered, by SHA-256 of the id.
func Erased(ctx context.Context, db audit.DB) ([][]byte, error) {
	rows, err := db.Query(ctx, `select digest from erasure_requests where ended_at is not null`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[[]byte])
}
