package b2b

import (
	"quadrille.internal/events"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/workflows/b2b/wire"
)

func viewOf(o *Order, g *Gate) wire.Order {
	v := wire.Order{
		ID: o.ID, CompanyID: o.CompanyID, OrderedBy: o.OrderedBy, Status: string(o.Status), Reason: safeReason(o.Reason), Total: o.total(),
		Lines: o.Lines, Allocations: o.Allocations, Backorders: o.Shortages, ERPOrderID: o.ERPOrderID, Steps: stepViews(o),
		SubmittedAt: o.SubmittedAt, EndedAt: o.EndedAt,
	}
	if o.Final() {
		return v
	}
	v.WaitsFor, v.WaitingSince = waitsFor(o), &o.MovedAt
	if o.Status == AwaitingApproval && g != nil {
		v.WaitsUntil = &g.ExpireAt
	}
	return v
}

// waitsFor names what an order that is under way waits for.
func waitsFor(o *Order) string {
	switch o.Status {
	case Submitted:
		return "the workflow to start"
	case AwaitingApproval:
		return "approval"
	case Approved:
		return "inventory"
	case Allocated:
		return "the ERP"
	case Synced:
		return "confirmation"
	case Undoing:
		return "compensation"
	case CompensationFailed:
		return "an operator: quad b2b resume"
	case Completed, Rejected, Cancelled, Failed:
	}
	return ""
}

// Codes of what went wrong at a step. What an order stores and an operator sees
// beside them, the cause, may hold addresses and other people's words.
const (
	codeERPAway        = "erp_unavailable"
	codeERPFailed      = "erp_failed"
	codeInventory      = "inventory_unavailable"
	codeDatabase       = "database_unavailable"
	codeInternal       = "internal"
	messageInternal    = "Something went wrong on our side."
	messageERPRejected = "The ERP refused the order."
)

// words are what customers are told for a code whose cause is not theirs to see.
// They are looked up when they are shown, so that none stored by an older version,
// which kept the cause there, gets out.
var words = map[string]string{
	codeERPAway:                "The ERP does not answer.",
	codeERPFailed:              "The ERP answered with an error.",
	codeInventory:              "Inventory does not answer.",
	codeDatabase:               "Our database does not answer.",
	codeInternal:               messageInternal,
	reasonERP:                  messageERPRejected,
	string(CompensationFailed): "Undoing the order keeps failing. An operator looks after it.",
}

// codeOf is the code for a failed attempt at a step.
func codeOf(err error) string {
	code := fault.Of(err).Code
	if code == codeInternal && pgtx.Transient(err) {
		return codeDatabase
	}
	return code
}

// causeOf is what operators see beside the code.
func causeOf(err error) string {
	if f := fault.Of(err); f.Cause != nil {
		return f.Cause.Error()
	}
	return err.Error()
}

// wordsFor is what customers are told of a code.
func wordsFor(code string) string {
	if w, ok := words[code]; ok {
		return w
	}
	return messageInternal
}

func safeReason(r *events.Reason) *events.Reason {
	if r == nil || words[r.Code] == "" {
		return r
	}
	return &events.Reason{Code: r.Code, Message: words[r.Code]}
}

func safeVerdict(v Verdict) Verdict {
	v.Reason = safeReason(v.Reason)
	return v
}

func stepViews(o *Order) []*wire.Step {
	list := make([]*wire.Step, len(o.Steps))
	for i, s := range o.Steps {
		v := &wire.Step{Name: s.Name, Attempts: s.Attempts, StartedAt: s.StartedAt, EndedAt: s.EndedAt}
		if s.Verdict != nil {
			safe := safeVerdict(*s.Verdict)
			v.Verdict = &safe
		}
		if s.Cause != "" {
			v.ErrorCode = s.Code
			if words[s.Code] == "" { // of an older version, or a fault of the order's own
				v.ErrorCode = codeInternal
			}
			v.Message = wordsFor(v.ErrorCode)
		}
		list[i] = v
	}
	return list
}
