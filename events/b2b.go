package events

import (
	"errors"
	"time"
)

func blankB2B(eventType string) Event {
	switch eventType {
	case TypeB2BOrderSubmitted:
		return new(B2BOrderSubmitted)
	case TypeB2BApprovalRequested:
		return new(B2BApprovalRequested)
	case TypeB2BApprovalEscalated:
		return new(B2BApprovalEscalated)
	case TypeB2BOrderApproved:
		return new(B2BOrderApproved)
	case TypeB2BOrderRejected:
		return new(B2BOrderRejected)
	case TypeB2BOrderAllocated:
		return new(B2BOrderAllocated)
	case TypeB2BOrderCompleted:
		return new(B2BOrderCompleted)
	case TypeB2BOrderFailed:
		return new(B2BOrderFailed)
	default:
		return nil
	}
}

// B2BOrderSubmitted: a company's order was taken in. From b2b, as are all below.
type B2BOrderSubmitted struct {
	Subject
	CompanyID string `json:"company_id"`
	OrderedBy string `json:"ordered_by"`
	Lines     []Line `json:"lines"`
	Total     Money  `json:"total"`
}

// B2BApprovalRequested: the order waits for Need of the approvers.
type B2BApprovalRequested struct {
	Subject
	CompanyID string    `json:"company_id"`
	Total     Money     `json:"total"`
	Need      int       `json:"need"`
	Approvers []string  `json:"approvers"`
	ExpiresAt time.Time `json:"expires_at"`
	// Reminder says that they were asked before.
	Reminder bool `json:"reminder"`
}

// B2BApprovalEscalated: nobody answered; the next level is asked too.
type B2BApprovalEscalated struct {
	Subject
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

// Anchor lets whoever keeps the event tell whether the record of the decisions, or
// the order they were made on, was changed afterwards.
type Anchor struct {
	// OrderHash is the hash of the order as it was decided on.
	OrderHash string `json:"order_hash,omitempty"`
	// DecisionsHead is the hash of the last decision, which includes those before.
	DecisionsHead string `json:"decisions_head,omitempty"`
}

// B2BOrderApproved: as many as are needed have consented.
type B2BOrderApproved struct {
	Subject
	CompanyID string     `json:"company_id"`
	Approvals []Approval `json:"approvals"`
	Anchor
}

// B2BOrderRejected: a rule, an approver or a shortage stands against the order;
// what was done for it is undone. Final.
type B2BOrderRejected struct {
	Subject
	CompanyID string `json:"company_id"`
	Reason    Reason `json:"reason"`
	// Anchor is set where approvers decided on the order.
	Anchor
}

// B2BOrderAllocated: stock is held. Backorders are to follow later.
type B2BOrderAllocated struct {
	Subject
	CompanyID   string       `json:"company_id"`
	Allocations []Allocation `json:"allocations"`
	Backorders  []Shortage   `json:"backorders"`
}

// B2BOrderCompleted: the ERP has the order, the stock ships. Final.
type B2BOrderCompleted struct {
	Subject
	CompanyID  string `json:"company_id"`
	Total      Money  `json:"total"`
	ERPOrderID string `json:"erp_order_id"`
}

// B2BOrderFailed: the order was cancelled or could not be carried out; what was
// done for it is undone. Final.
type B2BOrderFailed struct {
	Subject
	CompanyID string `json:"company_id"`
	// Status is cancelled or failed.
	Status string `json:"status"`
	Reason Reason `json:"reason"`
}

// Type is b2b.order.submitted.
func (B2BOrderSubmitted) Type() string { return TypeB2BOrderSubmitted }

// Type is b2b.approval.requested.
func (B2BApprovalRequested) Type() string { return TypeB2BApprovalRequested }

// Type is b2b.approval.escalated.
func (B2BApprovalEscalated) Type() string { return TypeB2BApprovalEscalated }

// Type is b2b.order.approved.
func (B2BOrderApproved) Type() string { return TypeB2BOrderApproved }

// Type is b2b.order.rejected.
func (B2BOrderRejected) Type() string { return TypeB2BOrderRejected }

// Type is b2b.order.allocated.
func (B2BOrderAllocated) Type() string { return TypeB2BOrderAllocated }

// Type is b2b.order.completed.
func (B2BOrderCompleted) Type() string { return TypeB2BOrderCompleted }

// Type is b2b.order.failed.
func (B2BOrderFailed) Type() string { return TypeB2BOrderFailed }

func (s Subject) ofCompany(id string) error {
	if id == "" {
		return errors.New("company_id is required")
	}
	return s.validate()
}

// Validate checks company, lines and total.
func (e B2BOrderSubmitted) Validate() error {
	if e.OrderedBy == "" {
		return errors.New("ordered_by is required")
	}
	return errors.Join(e.ofCompany(e.CompanyID), e.Total.validate(), validLines(e.Lines, e.Total))
}

// Validate checks company, need and expiry.
func (e B2BApprovalRequested) Validate() error {
	if e.Need < 1 || len(e.Approvers) < e.Need || e.ExpiresAt.IsZero() {
		return errors.New("need, as many approvers and expires_at are required")
	}
	return errors.Join(e.ofCompany(e.CompanyID), e.Total.validate())
}

// Validate checks company, approvers and expiry.
func (e B2BApprovalEscalated) Validate() error {
	if len(e.Approvers) == 0 || e.ExpiresAt.IsZero() {
		return errors.New("approvers and expires_at are required")
	}
	return e.ofCompany(e.CompanyID)
}

// Validate checks company and approvals.
func (e B2BOrderApproved) Validate() error {
	if len(e.Approvals) == 0 {
		return errors.New("approvals are required")
	}
	return e.ofCompany(e.CompanyID)
}

// Validate checks company and reason.
func (e B2BOrderRejected) Validate() error {
	return errors.Join(e.ofCompany(e.CompanyID), e.Reason.validate())
}

// Validate checks company and allocations.
func (e B2BOrderAllocated) Validate() error {
	return errors.Join(e.ofCompany(e.CompanyID), validAllocations(e.Allocations))
}

// Validate checks company, total and ERP order.
func (e B2BOrderCompleted) Validate() error {
	if e.ERPOrderID == "" {
		return errors.New("erp_order_id is required")
	}
	return errors.Join(e.ofCompany(e.CompanyID), e.Total.validate())
}

// Validate checks company, status and reason.
func (e B2BOrderFailed) Validate() error {
	if e.Status != "cancelled" && e.Status != "failed" {
		return errors.New("status is cancelled or failed")
	}
	return errors.Join(e.ofCompany(e.CompanyID), e.Reason.validate())
}
