// Package wire is what b2b's HTTP API takes and answers, for the service and for its
// clients. docs/openapi.yaml describes it.
package wire

import (
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/workflows/b2b/decisionlog"
)

// NewOrder is what a company wants to buy. Prices are minor units of the company's
// currency.
type NewOrder struct {
	CompanyID      string        `json:"company_id"`
	OrderedBy      string        `json:"ordered_by"`
	Lines          []events.Line `json:"lines"`
	AllowBackorder bool          `json:"allow_backorder"`
}

// Receipt is the answer to a submitted order, and again the same to a repetition:
// it holds nothing that changes.
type Receipt struct {
	ID          uuid.UUID    `json:"id"`
	Total       events.Money `json:"total"`
	SubmittedAt time.Time    `json:"submitted_at"`
}

// Order is a company's order with the steps of its saga.
type Order struct {
	ID           uuid.UUID              `json:"id"`
	CompanyID    string                 `json:"company_id"`
	OrderedBy    string                 `json:"ordered_by"`
	Status       string                 `json:"status"`
	Reason       *events.Reason         `json:"reason,omitempty"`
	Total        events.Money           `json:"total"`
	Lines        []events.Line          `json:"lines"`
	Allocations  []events.Allocation    `json:"allocations,omitempty"`
	Backorders   []events.Shortage      `json:"backorders,omitempty"`
	ERPOrderID   string                 `json:"erp_order_id,omitempty"`
	Steps        []*Step                `json:"steps"`
	WaitsFor     string                 `json:"waits_for,omitempty"`
	WaitingSince *time.Time             `json:"waiting_since,omitempty"`
	WaitsUntil   *time.Time             `json:"waits_until,omitempty"`
	SubmittedAt  time.Time              `json:"submitted_at"`
	EndedAt      *time.Time             `json:"ended_at,omitempty"`
	Decisions    []decisionlog.Decision `json:"decisions,omitempty"`
}

// Step is one step of the saga, forward or undoing.
type Step struct {
	Name string `json:"name"`
	// Attempts that have ended, and how the last unsuccessful one did.
	Attempts  int        `json:"attempts"`
	ErrorCode string     `json:"error_code,omitempty"`
	Message   string     `json:"message,omitempty"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
	// Verdict of a step that has ended.
	Verdict *Verdict `json:"verdict,omitempty"`
}

// Verdict is how a step ended. One that is not OK undoes those before it.
type Verdict struct {
	OK bool `json:"ok"`
	// Final is the status that an order ends in which did not get past the step.
	Final  string         `json:"final,omitempty"`
	Reason *events.Reason `json:"reason,omitempty"`
}

// Vote is an approver's decision: approve, or reject with a reason.
type Vote struct {
	Approver string `json:"approver"`
	Decision string `json:"decision"`
	Reason   string `json:"reason"`
}

// Poll is what the decisions on an order have come to.
type Poll struct {
	OrderID   uuid.UUID              `json:"order_id"`
	State     string                 `json:"state"`
	Need      int                    `json:"need"`
	Decisions []decisionlog.Decision `json:"decisions"`
}

// Pending is an order in an approver's queue.
type Pending struct {
	OrderID    uuid.UUID     `json:"order_id"`
	CompanyID  string        `json:"company_id"`
	OrderedBy  string        `json:"ordered_by"`
	Total      events.Money  `json:"total"`
	Lines      []events.Line `json:"lines"`
	OnBehalfOf string        `json:"on_behalf_of,omitempty"`
	CreditLeft int64         `json:"credit_left"`
	Need       int           `json:"need"`
	Given      int           `json:"given"`
	OnApprove  string        `json:"on_approve"`
	OpenedAt   time.Time     `json:"opened_at"`
	ExpiresAt  time.Time     `json:"expires_at"`
}

// Approvals is a page of what waits for an approver, soonest to expire first.
type Approvals struct {
	Approvals []Pending `json:"approvals"`
	// Next is the cursor of the next page, where there is one.
	Next string `json:"next_cursor,omitempty"`
}

// Stuck is an order whose step takes longer than it should. Why is for operators: it
// holds the error as it was.
type Stuck struct {
	OrderID uuid.UUID `json:"order_id"`
	Status  string    `json:"status"`
	Since   time.Time `json:"since"`
	Why     string    `json:"why"`
}

// StuckOrders lists them, the longest stuck first.
type StuckOrders struct {
	Stuck []Stuck `json:"stuck"`
}
