package audit

import "github.com/jackc/pgx/v5"

// Rights are the statements by which an administrator makes a role an auditor: it reads
// all tables of the databases that it may connect to, and changes nothing.
func Rights(role string) []string {
	role = pgx.Identifier{role}.Sanitize()
	return []string{
		"grant pg_read_all_data to " + role,
		"alter role " + role + " set default_transaction_read_only = on",
	}
}
