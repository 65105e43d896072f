package pgtx

import "github.com/jackc/pgx/v5/pgconn"

// blame says what is at fault where a statement fails.
type blame int

const (
	// ofDefect is the program or how its database is set up, ofServer what passes by
	// itself, ofData what the statement works on: only that may be given up.
	ofDefect blame = iota
	ofServer
	ofData
)

const readOnly = "25006"

// codes and classes list the SQLSTATEs that are no defect; codes win. What they do
// not list is one, as nothing may be given up for a state that nobody thought of.
var (
	codes = map[string]blame{
		readOnly: ofServer, // after a failover, this connection leads to the old primary
		"25P03":  ofServer, // idle in a transaction for too long
		"25P04":  ofServer, // transaction too long
		"55006":  ofServer, // object in use
		"55P03":  ofServer, // lock not got
		"54011":  ofDefect, // too many columns
		"54023":  ofDefect, // too many arguments
	}
	classes = map[string]blame{
		"08": ofServer, // connection
		"40": ofServer, // roll-back
		"53": ofServer, // resources, disk full among them
		"57": ofServer, // operator, statement timeout among them
		"58": ofServer, // system
		"72": ofServer, // snapshot too old

		"02": ofData, // no data
		"20": ofData, // case not found
		"21": ofData, // cardinality
		"22": ofData, // data exception
		"23": ofData, // constraint
		"44": ofData, // check option of a view
		"54": ofData, // too large, too deep
		"P0": ofData, // raised by a function
	}
)

func blameOf(sqlstate string) blame {
	if b, ok := codes[sqlstate]; ok {
		return b
	}
	return classes[sqlstate[:min(2, len(sqlstate))]]
}

// closeReadOnly is pgx's hook on each error of the server: false closes the
// connection. The pool makes another, which may reach the new primary.
func closeReadOnly(next pgconn.PgErrorHandler) pgconn.PgErrorHandler {
	return func(conn *pgconn.PgConn, err *pgconn.PgError) bool {
		return err.Code != readOnly && next(conn, err)
	}
}
