package b2b

import (
	"quadrille.internal/events"
	"quadrille.internal/events/internal/sample"
)

// Events are the types that b2b publishes.
var Events = events.Register("b2b", events.KindOrder,
	OrderSubmitted{OfOrder: sample.Order, CompanyID: "acme", OrderedBy: "carl", Lines: sample.Lines(), Total: sample.Total},
	ApprovalRequested{
		OfOrder: sample.Order, CompanyID: "acme", Total: sample.Total,
		Need: 2, Approvers: []string{"alice", "bob"}, ExpiresAt: sample.AnswerBy, Reminder: true,
	},
	ApprovalEscalated{
		OfOrder: sample.Order, CompanyID: "acme", Level: 2, Approvers: []string{"alice", "bob", "dora"}, ExpiresAt: sample.AnswerBy,
	},
	OrderApproved{
		OfOrder: sample.Order, CompanyID: "acme",
		Approvals: []Approval{
			{Approver: "alice", OnBehalfOf: "alice", DecidedAt: sample.DecidedAt},
			{Approver: "erin", OnBehalfOf: "bob", DecidedAt: sample.DecidedAt},
		},
	},
	OrderRejected{
		OfOrder: sample.Order, CompanyID: "acme",
		Reason: events.Reason{Code: "approval_rejected", Message: "Rejected by bob: no budget"},
	},
	OrderAllocated{
		OfOrder: sample.Order, CompanyID: "acme", Allocations: sample.Allocations(),
		Backorders: []events.Shortage{{SKU: "85123A", Requested: 8, Available: 6}},
	},
	OrderCompleted{OfOrder: sample.Order, CompanyID: "acme", Total: sample.Total, ERPOrderID: "erp_1"},
	OrderFailed{OfOrder: sample.Order, CompanyID: "acme", Status: "cancelled", Reason: sample.Cancelled},
)

// CustomerEvents are the types that b2b publishes about customers.
var CustomerEvents = events.Register("b2b", events.KindCustomer, CustomerErased{sample.Erased})
