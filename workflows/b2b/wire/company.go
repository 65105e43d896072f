package wire

import "time"

// Company is a customer that buys on credit. Amounts are minor units of Currency.
type Company struct {
	ID string `json:"id"`
	Terms
	// Held by orders under way, Exposure of completed ones.
	Held     int64 `json:"held"`
	Exposure int64 `json:"exposure"`
}

// Terms are what a company is set to.
type Terms struct {
	Name        string `json:"name"`
	Currency    string `json:"currency"`
	CreditLimit int64  `json:"credit_limit"`
	// Warehouses, nearest first.
	Warehouses []string `json:"warehouses"`
	Policy     Policy   `json:"policy"`
}

// Policy says which orders of a company need whose decision.
type Policy struct {
	// Rules by amount; the one with the highest From that the order reaches counts.
	Rules       []Rule       `json:"rules"`
	Approvers   []Approver   `json:"approvers"`
	Delegations []Delegation `json:"delegations"`
	// How long after it is asked for a decision is asked for again, of the next
	// level too, and no longer waited for. 0 takes the default.
	RemindAfter   Duration `json:"remind_after"`
	EscalateAfter Duration `json:"escalate_after"`
	ExpireAfter   Duration `json:"expire_after"`
}

// Rule wants Need approvals for orders of From minor units and more.
type Rule struct {
	From int64 `json:"from"`
	Need int   `json:"need"`
}

// Approver may decide on orders of up to Limit minor units. Level 1 is asked
// first; higher levels when it does not answer.
type Approver struct {
	ID    string `json:"id"`
	Limit int64  `json:"limit"`
	Level int    `json:"level"`
}

// Delegation lets To decide in From's place for a while.
type Delegation struct {
	From  string    `json:"from"`
	To    string    `json:"to"`
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

// Duration is a time.Duration that is written as in Go: "48h".
type Duration time.Duration

// String gives Go's notation.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText gives Go's notation.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil } //nolint:unparam // the interface has an error

// UnmarshalText reads Go's notation.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}
