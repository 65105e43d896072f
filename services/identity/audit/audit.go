// Package audit is what identity lets auditors read of its books.
package audit

import "quadrille.internal/platform/audit"

// Books are those of identity. It knows no orders.
var Books = audit.Books{
	Customers: []audit.Column{
		{Table: "accounts", Name: "id"}, {Table: "sessions", Name: "account_id"}, {Table: "passkeys", Name: "account_id"},
		{Table: "openid_links", Name: "account_id"}, {Table: "ceremonies", Name: "account_id"}, {Table: "reset_tokens", Name: "account_id"},
		{Table: "mails", Name: "account_id"}, {Table: "mailed_tokens", Name: "account_id"}, {Table: "customer_groups", Name: "customer_id"},
	},
	Rules: []audit.Rule{
		{
			Name: "what is revoked was used before, and ended once", Unit: "sessions", Count: `select count(*) from sessions`,
			Faults: `
				select id::text, format('it was used at %s and revoked at %s for %s', used_at, revoked_at, revoked_for) from sessions
				where revoked_at < used_at or used_at < created_at or expires_at <= created_at order by id`,
		},
		{
			Name: "one key signs and one is next", Unit: "keys", Count: `select count(*) from signing_keys`,
			Faults: `
				select state, format('%s keys are %s, want 1', count(k.id), state) from (values ('current'), ('next')) s (state)
				left join signing_keys k using (state)
				where exists (select from signing_keys) group by state having count(k.id) <> 1`,
		},
		{
			Name: "every account has a way to sign in", Unit: "accounts", Count: `select count(*) from accounts`,
			Faults: `
				select id::text, 'it has no password, no passkey and no linked provider' from accounts a
				where password is null and not exists (select from passkeys where account_id = a.id)
					and not exists (select from openid_links where account_id = a.id) order by id`,
		},
	},
}
