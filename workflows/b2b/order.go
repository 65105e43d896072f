package b2b

import (
	"time"

	"quadrille.internal/events"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/workflows/b2b/decisionlog"
	"quadrille.internal/workflows/b2b/wire"
)

// Status of an order.
type Status string

// The statuses. The last five are final but for CompensationFailed, which a
// resume leads out of.
const (
	Submitted          Status = "submitted"
	AwaitingApproval   Status = "awaiting_approval"
	Approved           Status = "approved"
	Allocated          Status = "allocated"
	Synced             Status = "synced"
	Undoing            Status = "undoing"
	CompensationFailed Status = "compensation_failed"
	Completed          Status = "completed"
	Rejected           Status = "rejected"
	Cancelled          Status = "cancelled"
	Failed             Status = "failed"
)

// Credit is what an order does with its company's credit.
type Credit string

// The uses of credit.
const (
	CreditNone     Credit = ""
	CreditHeld     Credit = "held"
	CreditUsed     Credit = "used"
	CreditReleased Credit = "released"
)

// Order is a company's order. The JSON names are the columns.
type Order struct {
	aggregate.Row

	IdempotencyKey string              `json:"idempotency_key"`
	RequestHash    string              `json:"request_hash"`
	CompanyID      string              `json:"company_id"`
	OrderedBy      string              `json:"ordered_by"`
	Status         Status              `json:"status"`
	Reason         *events.Reason      `json:"reason"`
	Lines          []events.Line       `json:"lines"`
	Amount         int64               `json:"amount"`
	Currency       string              `json:"currency"`
	AllowBackorder bool                `json:"allow_backorder"`
	Allocations    []events.Allocation `json:"allocations"`
	Shortages      []events.Shortage   `json:"shortages"`
	ERPOrderID     string              `json:"erp_order_id"`
	Credit         Credit              `json:"credit"`
	// CreditAmount is what was held of the company's credit; nil in orders older than
	// it, where it is Amount.
	CreditAmount *int64     `json:"credit_amount"`
	CancelAsked  bool       `json:"cancel_asked"`
	Steps        []*Step    `json:"steps"`
	TraceParent  string     `json:"traceparent"`
	SubmittedAt  time.Time  `json:"submitted_at"`
	StartedAt    *time.Time `json:"started_at"`
	EndedAt      *time.Time `json:"ended_at"`
	// MovedAt is when something last happened.
	MovedAt time.Time `json:"moved_at"`
	// NextCheckAt is when the relay looks at the order if nothing happens before; nil
	// where the order waits for nothing, or for an operator.
	NextCheckAt *time.Time `json:"next_check_at"`
	// ToldCount counts how often the relay told the workflow since the order last moved
	// or the workflow was ended, ToldAt is when it last did, and EndsCount how often it
	// ended the workflow since the order last moved.
	ToldCount int        `json:"told_count"`
	ToldAt    *time.Time `json:"told_at"`
	EndsCount int        `json:"ends_count"`
}

// Verdict of a step is also what the API shows of it.
type Verdict = wire.Verdict

// Step is one step of the saga as it is stored. The API shows no Cause.
type Step struct {
	Name string `json:"name"`
	// Attempts that have ended, and how the last unsuccessful one did: Code and, for
	// operators only, Cause.
	Attempts  int        `json:"attempts"`
	Code      string     `json:"error_code,omitempty"`
	Cause     string     `json:"error,omitempty"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
	Verdict   *Verdict   `json:"verdict,omitempty"`
}

var fine = Verdict{OK: true}

func refused(final Status, code, message string) Verdict {
	return Verdict{Final: string(final), Reason: &events.Reason{Code: code, Message: message}}
}

// Reason codes of this package, beside those of package events.
const (
	reasonCredit     = "credit_exceeded"
	reasonNoApprover = "no_approver"
	reasonRejected   = "approval_rejected"
	reasonExpired    = "approval_expired"
	reasonERP        = "erp_rejected"
	reasonStep       = "step_failed"
	reasonAltered    = "order_altered"
)

var cancelledByCustomer = refused(Cancelled, events.ReasonCustomerRequest, "Cancelled at your request.")

// step returns the step of a name, started now if it was not before.
func (o *Order) step(name string, now time.Time) *Step {
	for _, s := range o.Steps {
		if s.Name == name {
			return s
		}
	}
	s := &Step{Name: name, StartedAt: now}
	o.Steps = append(o.Steps, s)
	o.move(now)
	return s
}

// move notes that something happened.
func (o *Order) move(now time.Time) {
	o.MovedAt, o.ToldCount, o.ToldAt, o.EndsCount = now, 0, nil, 0
}

// checkAgain sets when the relay looks at the order, as it is now, if nothing
// happens before. Where it waits at a gate, that is given or the time stays.
func (o *Order) checkAgain(g *Gate) {
	at := o.MovedAt.Add(lostAfter)
	switch {
	case o.Final(), o.Status == CompensationFailed:
		o.NextCheckAt = nil
		return
	case o.Status == AwaitingApproval && g == nil:
		return
	case o.Status == AwaitingApproval:
		at = g.check()
	case o.StartedAt == nil:
		at = o.MovedAt.Add(relayAfter)
	}
	o.NextCheckAt = &at
}

// Ended returns the verdict of a step that has ended.
func (o *Order) Ended(name string) (Verdict, bool) {
	for _, s := range o.Steps {
		if s.Name == name && s.Verdict != nil {
			return *s.Verdict, true
		}
	}
	return Verdict{}, false
}

// Outcome returns the verdict of steps that are taken in one: that of the first
// which was refused, or else of the last; none while one has not ended.
func (o *Order) Outcome(steps ...string) (v Verdict, ended bool) {
	for _, name := range steps {
		if v, ended = o.Ended(name); !ended || !v.OK {
			return v, ended
		}
	}
	return v, ended
}

// End notes that a step has ended, which began at a time unless it failed before.
func (o *Order) End(name string, v Verdict, began, now time.Time) {
	s := o.step(name, began)
	s.Attempts++
	s.EndedAt, s.Verdict = &now, &v
	o.move(now)
}

// Abandon ends a step that is about to be undone, unless it has ended: an attempt
// at it that is still under way somewhere finds its verdict and changes nothing.
func (o *Order) Abandon(name string, why Verdict, now time.Time) {
	if _, ended := o.Ended(name); !ended {
		o.End(name, why, now, now)
	}
}

// Stumble notes an attempt at a step that failed and will be repeated. A step that
// has ended takes no notes: the attempt was left over.
func (o *Order) Stumble(name string, cause error, began, now time.Time) {
	if _, ended := o.Ended(name); ended || o.Final() {
		return
	}
	s := o.step(name, began)
	s.Attempts++
	s.Code, s.Cause = codeOf(cause), causeOf(cause)
	o.move(now)
}

// Final reports whether the order's fate is settled.
func (o *Order) Final() bool { return o.EndedAt != nil }

func (o *Order) subject() events.OfOrder { return events.OfOrder{OrderID: o.ID} }

// held is what the order holds or uses of its company's credit.
func (o *Order) held() int64 {
	if o.CreditAmount != nil {
		return *o.CreditAmount
	}
	return o.Amount
}

// decided is what approvers decide on.
func (o *Order) decided() *decisionlog.Order {
	return &decisionlog.Order{
		ID: o.ID, CompanyID: o.CompanyID, OrderedBy: o.OrderedBy, Currency: o.Currency, Amount: o.Amount,
		AllowBackorder: o.AllowBackorder, Lines: o.Lines,
	}
}

func (o *Order) total() events.Money { return events.Money{Amount: o.Amount, Currency: o.Currency} }
