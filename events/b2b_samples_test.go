package events_test

import (
	"time"

	"quadrille.internal/events"
)

var expiresAt = time.Date(2026, 6, 18, 9, 30, 0, 0, time.UTC)

func submitted() events.B2BOrderSubmitted {
	return events.B2BOrderSubmitted{
		Subject: events.Subject{OrderID: orderID}, CompanyID: "acme", OrderedBy: "carl",
		Lines: created().Lines, Total: created().Total,
	}
}

func requested() events.B2BApprovalRequested {
	return events.B2BApprovalRequested{
		Subject: events.Subject{OrderID: orderID}, CompanyID: "acme", Total: created().Total,
		Need: 2, Approvers: []string{"alice", "bob"}, ExpiresAt: expiresAt, Reminder: true,
	}
}

func escalated() events.B2BApprovalEscalated {
	return events.B2BApprovalEscalated{
		Subject: events.Subject{OrderID: orderID}, CompanyID: "acme", Level: 2,
		Approvers: []string{"alice", "bob", "dora"}, ExpiresAt: expiresAt,
	}
}

func b2bSamples() []events.Event {
	subject := events.Subject{OrderID: orderID}
	return []events.Event{
		submitted(),
		requested(),
		escalated(),
		events.B2BOrderApproved{
			Subject: subject, CompanyID: "acme",
			Approvals: []events.Approval{
				{Approver: "alice", OnBehalfOf: "alice", DecidedAt: goldenTime},
				{Approver: "erin", OnBehalfOf: "bob", DecidedAt: goldenTime},
			},
		},
		events.B2BOrderRejected{
			Subject: subject, CompanyID: "acme",
			Reason: events.Reason{Code: "approval_rejected", Message: "Rejected by bob: no budget"},
		},
		events.B2BOrderAllocated{
			Subject: subject, CompanyID: "acme", Allocations: reserved().Allocations,
			Backorders: []events.Shortage{{SKU: "85123A", Requested: 8, Available: 6}},
		},
		events.B2BOrderCompleted{Subject: subject, CompanyID: "acme", Total: created().Total, ERPOrderID: "erp_1"},
		events.B2BOrderFailed{
			Subject: subject, CompanyID: "acme", Status: "cancelled",
			Reason: events.Reason{Code: events.ReasonCustomerRequest, Message: "Cancelled at your request."},
		},
	}
}
