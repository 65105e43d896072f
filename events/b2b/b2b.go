// Package b2b holds the events that b2b publishes.
package b2b

import (
	"errors"
	"time"

	"quadrille.internal/events"
)

// The event types, which are also the names of the topics.
const (
	TypeOrderSubmitted    = "b2b.order.submitted"
	TypeApprovalRequested = "b2b.approval.requested"
	TypeApprovalEscalated = "b2b.approval.escalated"
	TypeOrderApproved     = "b2b.order.approved"
	TypeOrderRejected     = "b2b.order.rejected"
	TypeOrderAllocated    = "b2b.order.allocated"
	TypeOrderCompleted    = "b2b.order.completed"
	TypeOrderFailed       = "b2b.order.failed"
)

// OrderSubmitted: a company's order was taken in.
type OrderSubmitted struct {
	events.OfOrder
	CompanyID string        `json:"company_id"`
	OrderedBy string        `json:"ordered_by"`
	Lines     []events.Line `json:"lines"`
	Total     events.Money  `json:"total"`
}

// ApprovalRequested: the order waits for Need of the approvers.
type ApprovalRequested struct {
	events.OfOrder
	CompanyID string       `json:"company_id"`
	Total     events.Money `json:"total"`
	Need      int          `json:"need"`
	Approvers []string     `json:"approvers"`
	ExpiresAt time.Time    `json:"expires_at"`
	// Reminder says that they were asked before.
	Reminder bool `json:"reminder"`
}

// ApprovalEscalated: nobody answered; the next level is asked too.
type ApprovalEscalated struct {
	events.OfOrder
	CompanyID string    `json:"company_id"`
	Level     int       `json:"level"`
	Approvers []string  `json:"approvers"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Approval is one approver's consent.
type Approval struct {
	Approver   string    `json:"approver"`
	OnBehalfOf string    `json:"on_behalf_of"`
	DecidedAt  time.Time `json:"decided_at"`
}

// Anchor lets those who keep the event tell whether the record of the decisions, or
// the order they were made on, was changed afterwards.
type Anchor struct {
	// OrderHash is the hash of the order as it was decided on.
	OrderHash string `json:"order_hash,omitempty"`
	// DecisionsHead is the hash of the last decision, which includes those before.
	DecisionsHead string `json:"decisions_head,omitempty"`
}

// OrderApproved: as many as are needed have consented.
type OrderApproved struct {
	events.OfOrder
	CompanyID string     `json:"company_id"`
	Approvals []Approval `json:"approvals"`
	Anchor
}

// OrderRejected: a rule, an approver or a shortage stands against the order;
// what was done for it is undone. Final.
type OrderRejected struct {
	events.OfOrder
	CompanyID string        `json:"company_id"`
	Reason    events.Reason `json:"reason"`
	// Anchor is set where approvers decided on the order.
	Anchor
}

// OrderAllocated: stock is held. Backorders follow later.
type OrderAllocated struct {
	events.OfOrder
	CompanyID   string              `json:"company_id"`
	Allocations []events.Allocation `json:"allocations"`
	Backorders  []events.Shortage   `json:"backorders"`
}

// OrderCompleted: the ERP has the order, the stock ships. Final.
type OrderCompleted struct {
	events.OfOrder
	CompanyID  string       `json:"company_id"`
	Total      events.Money `json:"total"`
	ERPOrderID string       `json:"erp_order_id"`
}

// OrderFailed: the order was cancelled or could not be carried out; what was
// done for it is undone. Final.
type OrderFailed struct {
	events.OfOrder
	CompanyID string `json:"company_id"`
	// Status is cancelled or failed.
	Status string        `json:"status"`
	Reason events.Reason `json:"reason"`
}

// Type is b2b.order.submitted.
func (OrderSubmitted) Type() string { return TypeOrderSubmitted }

// Type is b2b.approval.requested.
func (ApprovalRequested) Type() string { return TypeApprovalRequested }

// Type is b2b.approval.escalated.
func (ApprovalEscalated) Type() string { return TypeApprovalEscalated }

// Type is b2b.order.approved.
func (OrderApproved) Type() string { return TypeOrderApproved }

// Type is b2b.order.rejected.
func (OrderRejected) Type() string { return TypeOrderRejected }

// Type is b2b.order.allocated.
func (OrderAllocated) Type() string { return TypeOrderAllocated }

// Type is b2b.order.completed.
func (OrderCompleted) Type() string { return TypeOrderCompleted }

// Type is b2b.order.failed.
func (OrderFailed) Type() string { return TypeOrderFailed }

// Validate checks company, lines and total.
func (e OrderSubmitted) Validate() error {
	if e.OrderedBy == "" {
		return errors.New("ordered_by is required")
	}
	return errors.Join(ofCompany(e.OfOrder, e.CompanyID), e.Total.Validate(), events.ValidateLines(e.Lines, e.Total))
}

// Validate checks company, need and expiry.
func (e ApprovalRequested) Validate() error {
	if e.Need < 1 || len(e.Approvers) < e.Need || e.ExpiresAt.IsZero() {
		return errors.New("need, as many approvers and expires_at are required")
	}
	return errors.Join(ofCompany(e.OfOrder, e.CompanyID), e.Total.Validate())
}

// Validate checks company, approvers and expiry.
func (e ApprovalEscalated) Validate() error {
	if len(e.Approvers) == 0 || e.ExpiresAt.IsZero() {
		return errors.New("approvers and expires_at are required")
	}
	return ofCompany(e.OfOrder, e.CompanyID)
}

// Validate checks company and approvals.
func (e OrderApproved) Validate() error {
	if len(e.Approvals) == 0 {
		return errors.New("approvals are required")
	}
	return ofCompany(e.OfOrder, e.CompanyID)
}

// Validate checks company and reason.
func (e OrderRejected) Validate() error {
	return errors.Join(ofCompany(e.OfOrder, e.CompanyID), e.Reason.Validate())
}

// Validate checks company and allocations.
func (e OrderAllocated) Validate() error {
	return errors.Join(ofCompany(e.OfOrder, e.CompanyID), events.ValidateAllocations(e.Allocations))
}

// Validate checks company, total and ERP order.
func (e OrderCompleted) Validate() error {
	if e.ERPOrderID == "" {
		return errors.New("erp_order_id is required")
	}
	return errors.Join(ofCompany(e.OfOrder, e.CompanyID), e.Total.Validate())
}

// Validate checks company, status and reason.
func (e OrderFailed) Validate() error {
	if e.Status != "cancelled" && e.Status != "failed" {
		return errors.New("status is cancelled or failed")
	}
	return errors.Join(ofCompany(e.OfOrder, e.CompanyID), e.Reason.Validate())
}

func ofCompany(order events.OfOrder, id string) error {
	if id == "" {
		return errors.New("company_id is required")
	}
	return order.Validate()
}
