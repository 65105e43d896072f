package b2b

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/b2b"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/workflows/b2b/decisionlog"
	"quadrille.internal/workflows/b2b/wire"
)

// GateState is the state of an approval gate. Open is the only one that changes.
type GateState string

// The states.
const (
	GateOpen      GateState = "open"
	GateApproved  GateState = "approved"
	GateRejected  GateState = "rejected"
	GateExpired   GateState = "expired"
	GateCancelled GateState = "cancelled"
)

// Gate is where an order waits for its approvals. It is decided once, in the
// transaction that first saves it as decided: by the last approval needed, by a
// rejection, by the customer's cancellation or by its expiry. The JSON names are
// the columns.
type Gate struct {
	aggregate.Row

	CompanyID  string         `json:"company_id"`
	State      GateState      `json:"state"`
	Need       int            `json:"need"`
	Level      int            `json:"level"`
	Reason     *events.Reason `json:"reason"`
	OpenedAt   time.Time      `json:"opened_at"`
	RemindAt   *time.Time     `json:"remind_at"`
	EscalateAt *time.Time     `json:"escalate_at"`
	ExpireAt   time.Time      `json:"expire_at"`
	DecidedAt  *time.Time     `json:"decided_at"`
	// ObservedAt is when the workflow saw the decision; until then it is told.
	ObservedAt *time.Time `json:"observed_at"`
}

var gates = aggregate.NewTable[Gate, uuid.UUID]("gates")

// GateView is what the workflow sees of a gate: the verdict, or until when to wait
// for news.
type GateView struct {
	Verdict *Verdict  `json:"verdict,omitempty"`
	Until   time.Time `json:"until"`
	// Allocated is the verdict of the step behind the gate, if that was taken at once
	// and has ended.
	Allocated *Verdict `json:"allocated,omitempty"`
}

// newGate opens the gate of an order.
func newGate(o *Order, p Policy, need, level int, now time.Time) *Gate {
	at := func(d Duration) *time.Time { t := now.Add(time.Duration(d)); return &t }
	return &Gate{
		Row: aggregate.Row{ID: o.ID}, CompanyID: o.CompanyID, State: GateOpen, Need: need, Level: level, OpenedAt: now,
		RemindAt: at(p.RemindAfter), EscalateAt: at(p.EscalateAfter), ExpireAt: *at(p.ExpireAfter),
	}
}

// view returns what the workflow sees, which from then on counts as seen.
func (g *Gate) view(now time.Time) GateView {
	v := GateView{Verdict: g.verdict(), Until: g.next()}
	if v.Verdict != nil && g.ObservedAt == nil {
		g.ObservedAt = &now
	}
	return v
}

func (g *Gate) verdict() *Verdict {
	switch g.State {
	case GateApproved:
		return &Verdict{OK: true}
	case GateRejected, GateExpired:
		return &Verdict{Final: string(Rejected), Reason: g.Reason}
	case GateCancelled:
		return &Verdict{Final: string(Cancelled), Reason: g.Reason}
	case GateOpen:
	}
	return nil
}

// next returns when the gate next does something by itself.
func (g *Gate) next() time.Time {
	until := g.ExpireAt
	for _, t := range []*time.Time{g.RemindAt, g.EscalateAt} {
		if t != nil && t.Before(until) {
			until = *t
		}
	}
	return until
}

// check returns when the relay looks at a workflow that waits at the gate.
func (g *Gate) check() time.Time {
	if g.State == GateOpen {
		return g.next().Add(lostAfter)
	}
	return g.DecidedAt.Add(relayAfter)
}

// decide closes the gate.
func (g *Gate) decide(s GateState, reason *events.Reason, now time.Time) {
	g.State, g.Reason, g.DecidedAt = s, reason, &now
}

// Vote is what an approver sends. It comes through our API or Dapr's raiseEvent.
type Vote wire.Vote

// The decisions of a vote.
const (
	Approve = "approve"
	Reject  = "reject"
)

func (v Vote) validate() error {
	switch {
	case !events.ValidName(v.Approver):
		return fault.Field("approver", "malformed", "An approver is 1 to 64 of A-Z a-z 0-9 . _ -.")
	case v.Decision != Approve && v.Decision != Reject:
		return fault.Field("decision", "malformed", "decision is approve or reject.")
	case v.Decision == Reject && strings.TrimSpace(v.Reason) == "":
		return fault.Field("reason", "required", "Say why the order is rejected.")
	case strings.ContainsRune(v.Reason, 0):
		return fault.Field("reason", "malformed", "A reason has no NUL character.")
	case len(v.Reason) > maxReason:
		return fault.Field("reason", "too_long", "A reason has %d bytes at most.", maxReason)
	}
	return nil
}

const maxReason = 2_000

// ballot is all that a vote is decided upon.
type ballot struct {
	gate    *Gate
	order   *Order
	policy  Policy
	earlier []decisionlog.Decision
}

func loadBallot(ctx context.Context, tx *outbox.Tx, id uuid.UUID) (*ballot, error) {
	found, err := gates.Load(ctx, tx, []uuid.UUID{id})
	if err != nil {
		return nil, err
	}
	b := &ballot{gate: found[id]}
	if b.gate == nil {
		return nil, fault.New(fault.NotFound, "no_approval", "This order waits for no approval, or not yet.")
	}
	if b.order, err = loadOrder(ctx, tx, id); err != nil {
		return nil, err
	}
	company, err := loadCompany(ctx, tx, b.order.CompanyID)
	if err != nil {
		return nil, err
	}
	b.policy = Policy(company.Policy)
	b.earlier, err = listDecisions(ctx, tx, id)
	return b, err
}

// cast records a vote, durably, and decides the gate if it is the last one needed.
// The same vote cast again changes nothing. One that comes too late is refused,
// with what was decided.
func cast(ctx context.Context, tx *outbox.Tx, id uuid.UUID, v Vote, source string) (*ballot, error) {
	if err := v.validate(); err != nil {
		return nil, err
	}
	b, err := loadBallot(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	if repeated, err := b.repeats(v); repeated || err != nil {
		return b, err
	}
	if b.gate.State != GateOpen || !tx.Now.Before(b.gate.ExpireAt) {
		return nil, b.tooLate()
	}
	principal := b.policy.Principal(v.Approver, b.order.Amount, b.order.OrderedBy, tx.Now, b.principals())
	if principal == "" {
		return nil, fault.New(fault.Forbidden, "not_an_approver", "%s may not decide on this order: it is over their limit, their own, or decided in their name already.", v.Approver)
	}
	b.earlier = append(b.earlier, decisionlog.Append(b.earlier, decisionlog.Decision{
		OrderID: b.order.ID, Approver: v.Approver, OnBehalfOf: principal,
		Verdict: v.Decision, Reason: v.Reason, OrderHash: b.order.decided().Hash(), Source: source, DecidedAt: tx.Now,
	}))
	if err := b.conclude(tx, v); err != nil {
		return nil, err
	}
	// First the gate: of two votes at once, its version lets one go on, also where more
	// votes are needed and the gate itself stays as it is.
	b.gate.Touch()
	if err := gates.Save(tx, map[uuid.UUID]*Gate{id: b.gate}); err != nil {
		return nil, err
	}
	record(tx, b.earlier[len(b.earlier)-1])
	if b.gate.State == GateOpen {
		return b, nil
	}
	b.order.checkAgain(b.gate)
	return b, orders.Save(tx, map[uuid.UUID]*Order{id: b.order})
}

func (b *ballot) repeats(v Vote) (bool, error) {
	for _, d := range b.earlier {
		if d.Approver != v.Approver {
			continue
		}
		if d.Verdict == v.Decision {
			return true, nil
		}
		return false, fault.New(fault.Conflict, "already_decided", "%s has already said %s.", d.Approver, d.Verdict)
	}
	return false, nil
}

func (b *ballot) tooLate() error {
	state := b.gate.State
	if state == GateOpen {
		state = GateExpired // its time is up, though nobody has noted that yet
	}
	var by []string
	for _, d := range b.earlier {
		by = append(by, d.Verdict+" by "+d.Approver)
	}
	message := fmt.Sprintf("The order is already %s", state)
	if len(by) > 0 {
		message += " (" + strings.Join(by, ", ") + ")"
	}
	return fault.New(fault.Conflict, "approval_"+string(state), "%s.", message)
}

func (b *ballot) principals() []string {
	var taken []string
	for _, d := range b.earlier {
		taken = append(taken, d.OnBehalfOf)
	}
	return taken
}

// conclude decides the gate if the decisions so far do.
func (b *ballot) conclude(tx *outbox.Tx, v Vote) error {
	if v.Decision == Reject {
		b.gate.decide(GateRejected, &events.Reason{Code: reasonRejected, Message: "Rejected by " + v.Approver + ": " + v.Reason}, tx.Now)
		return nil
	}
	if len(b.earlier) < b.gate.Need {
		return nil
	}
	b.gate.decide(GateApproved, nil, tx.Now)
	approved := &b2b.OrderApproved{OfOrder: b.order.subject(), CompanyID: b.order.CompanyID, Anchor: anchor(b.earlier)}
	for _, d := range b.earlier {
		approved.Approvals = append(approved.Approvals, b2b.Approval{Approver: d.Approver, OnBehalfOf: d.OnBehalfOf, DecidedAt: d.DecidedAt})
	}
	return tx.Emit(b.order.TraceParent, approved)
}

// advance does what the gate does by itself by now: remind, escalate, expire.
func advance(ctx context.Context, tx *outbox.Tx, id uuid.UUID) error {
	b, err := loadBallot(ctx, tx, id)
	if err != nil || b.gate.State != GateOpen {
		return err
	}
	if err := b.pass(tx); err != nil {
		return err
	}
	b.order.checkAgain(b.gate)
	if err := gates.Save(tx, map[uuid.UUID]*Gate{id: b.gate}); err != nil {
		return err
	}
	return orders.Save(tx, map[uuid.UUID]*Order{id: b.order})
}

func (b *ballot) pass(tx *outbox.Tx) error {
	g := b.gate
	due := func(t *time.Time) bool { return t != nil && !tx.Now.Before(*t) }
	switch {
	case due(&g.ExpireAt):
		g.decide(GateExpired, &events.Reason{Code: reasonExpired, Message: "Nobody decided on the order in time."}, tx.Now)
		return nil
	case due(g.EscalateAt):
		g.RemindAt, g.EscalateAt = nil, nil
		if level := b.policy.NextLevel(b.order.Amount, b.order.OrderedBy, g.Level); level > 0 {
			g.Level = level
		}
		return tx.Emit(b.order.TraceParent, &b2b.ApprovalEscalated{
			OfOrder: b.order.subject(), CompanyID: b.order.CompanyID, Level: g.Level,
			Approvers: b.approvers(), ExpiresAt: g.ExpireAt,
		})
	case due(g.RemindAt):
		g.RemindAt = nil
		return tx.Emit(b.order.TraceParent, b.request(true))
	}
	return nil
}

// approvers lists who is asked at the gate's level.
func (b *ballot) approvers() []string {
	var ids []string
	for _, a := range b.policy.Eligible(b.order.Amount, b.order.OrderedBy, b.gate.Level) {
		ids = append(ids, a.ID)
	}
	return ids
}

func (b *ballot) request(reminder bool) *b2b.ApprovalRequested {
	return &b2b.ApprovalRequested{
		OfOrder: b.order.subject(), CompanyID: b.order.CompanyID, Total: b.order.total(), Need: b.gate.Need,
		Approvers: b.approvers(), ExpiresAt: b.gate.ExpireAt, Reminder: reminder,
	}
}
