package b2b

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"quadrille.internal/events/b2b"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/workflows/b2b/decisionlog"
)

var (
	yes = func(who string) Vote { return Vote{Approver: who, Decision: Approve} }
	no  = func(who, why string) Vote { return Vote{Approver: who, Decision: Reject, Reason: why} }
)

// delegated is board with a delegation that holds now.
func delegated() Policy {
	p := board()
	p.Delegations[0].Since, p.Delegations[0].Until = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	return p
}

func TestCast(t *testing.T) {
	type result struct {
		code  string
		state GateState
	}
	for _, c := range []struct {
		name   string
		amount int64
		votes  []Vote
		want   []result // after each vote
	}{
		{"one approval", 5_000, []Vote{yes("bob")}, []result{{"", GateApproved}}},
		{"a rejection", 5_000, []Vote{no("bob", "no budget")}, []result{{"", GateRejected}}},
		{"two of three", 10_000, []Vote{yes("alice"), yes("zoe")}, []result{{"", GateOpen}, {"", GateApproved}}},
		{"one of two rejects", 10_000, []Vote{yes("alice"), no("zoe", "no")}, []result{{"", GateOpen}, {"", GateRejected}}},
		{"the same click twice", 10_000, []Vote{yes("alice"), yes("alice"), yes("zoe")},
			[]result{{"", GateOpen}, {"", GateOpen}, {"", GateApproved}}},
		{"the deciding click twice", 5_000, []Vote{yes("bob"), yes("bob")}, []result{{"", GateApproved}, {"", GateApproved}}},
		{"a mind changed", 10_000, []Vote{yes("alice"), no("alice", "oh")}, []result{{"", GateOpen}, {"already_decided", GateOpen}}},
		{"a delegate and who delegated are one", 10_000, []Vote{yes("dave"), yes("alice"), yes("zoe")},
			[]result{{"", GateOpen}, {"not_an_approver", GateOpen}, {"", GateApproved}}},
		{"who ordered", 5_000, []Vote{yes("carl")}, []result{{"not_an_approver", GateOpen}}},
		{"above the limit", 6_000, []Vote{yes("bob")}, []result{{"not_an_approver", GateOpen}}},
		{"a stranger's rejection", 5_000, []Vote{no("mallory", "no")}, []result{{"not_an_approver", GateOpen}}},
		{"too late to reject", 5_000, []Vote{yes("bob"), no("alice", "no")}, []result{{"", GateApproved}, {"approval_approved", GateApproved}}},
		{"too late to approve", 5_000, []Vote{no("bob", "no"), yes("alice")}, []result{{"", GateRejected}, {"approval_rejected", GateRejected}}},
		{"no reason to reject", 5_000, []Vote{{Approver: "bob", Decision: Reject, Reason: " \n"}}, []result{{"required", GateOpen}}},
		{"a reason too long", 5_000, []Vote{no("bob", strings.Repeat("x", maxReason+1))}, []result{{"too_long", GateOpen}}},
		{"neither yes nor no", 5_000, []Vote{{Approver: "bob", Decision: "maybe"}}, []result{{"malformed", GateOpen}}},
		{"a reason that no database holds", 5_000, []Vote{{Approver: "bob", Decision: Approve, Reason: "a\x00"}}, []result{{"malformed", GateOpen}}},
		{"nobody", 5_000, []Vote{{Decision: Approve}}, []result{{"malformed", GateOpen}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOffice(t)
			o.company("acme", 1_000_000, delegated())
			id := o.gated("acme", c.amount).OrderID
			for i, v := range c.votes {
				_, err := o.cast(id, v)
				if got := (result{code(err), o.gate(id).State}); got != c.want[i] || (err != nil) != (got.code != "") {
					t.Errorf("vote %d, %+v: %+v, %v, want %+v", i+1, v, got, err, c.want[i])
				}
			}
			if err := decisionlog.Check(o.decisions(id)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCastRecordsWhoWhatWhyWhenAndOnWhichOrder(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, delegated())
	req := o.gated("acme", 10_000)
	for _, v := range []Vote{{Approver: "dave", Decision: Approve, Reason: "for alice"}, yes("zoe")} {
		if _, err := o.cast(req.OrderID, v); err != nil {
			t.Fatal(err)
		}
	}
	list := o.decisions(req.OrderID)
	if len(list) != 2 {
		t.Fatalf("%d decisions, want 2", len(list))
	}
	d := list[0]
	if d.Seq != 1 || d.Approver != "dave" || d.OnBehalfOf != "alice" || d.Verdict != Approve || d.Reason != "for alice" ||
		d.Source != "api" || d.OrderHash != o.load(req.OrderID).decided().Hash() || d.MAC == "" || d.RecordedAt == nil || time.Since(d.DecidedAt) > time.Minute {
		t.Errorf("recorded %+v", d)
	}
	if list[1].PrevHash != d.Hash {
		t.Error("the second decision does not name the first one's hash")
	}
	o.expectEmitted(req.OrderID, b2b.TypeApprovalRequested, b2b.TypeOrderApproved)
}

func TestLateVoteIsToldWhatWasDecidedAndByWhom(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	id := o.gated("acme", 5_000).OrderID
	if _, err := o.cast(id, no("bob", "no budget")); err != nil {
		t.Fatal(err)
	}
	_, err := o.cast(id, yes("alice"))
	f, ok := errors.AsType[*fault.Fault](err)
	if !ok || f.Kind != fault.Conflict || f.Message != "The order is already rejected (reject by bob)." {
		t.Errorf("told %v", err)
	}
}

func TestTwoManagersAtOnceDecideOnce(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	for range 20 {
		id := o.gated("acme", 5_000).OrderID
		errs := race(
			func() error { _, err := o.cast(id, yes("alice")); return err },
			func() error { _, err := o.cast(id, no("bob", "no")); return err })
		list := o.decisions(id)
		if len(list) != 1 || (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("%d decisions, answers %v: want exactly one", len(list), errs)
		}
		want := map[string]GateState{Approve: GateApproved, Reject: GateRejected}[list[0].Verdict]
		if got := o.gate(id).State; got != want {
			t.Errorf("the gate is %s, but the decision %s", got, list[0].Verdict)
		}
	}
}

func TestTheSameClickManyTimesAtOnceIsOneDecision(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	id := o.gated("acme", 10_000).OrderID
	click := func() error { _, err := o.cast(id, yes("alice")); return err }
	for i, err := range race(click, click, click, click) {
		if err != nil {
			t.Errorf("click %d: %v", i, err)
		}
	}
	if n := len(o.decisions(id)); n != 1 || o.gate(id).State != GateOpen {
		t.Errorf("%d decisions, and the gate is %s, want one of the two needed", n, o.gate(id).State)
	}
}

func TestTwoOfTwoAtOnceApprove(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	for range 10 {
		id := o.gated("acme", 10_000).OrderID
		for _, err := range race(
			func() error { _, err := o.cast(id, yes("alice")); return err },
			func() error { _, err := o.cast(id, yes("zoe")); return err }) {
			if err != nil {
				t.Error(err)
			}
		}
		if g := o.gate(id); g.State != GateApproved {
			t.Errorf("the gate is %s after both approved", g.State)
		}
	}
}

// A decision at the very moment of expiry: whichever is first counts, for all.
func TestDecisionAtTheMomentOfExpiryHasOneOutcome(t *testing.T) {
	const rounds = 50
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	ends := map[GateState]int{}
	for range rounds {
		req := o.gated("acme", 5_000)
		expiry := time.Now().Add(15 * time.Millisecond)
		o.exec(`update gates set expire_at = $2 where id = $1`, req.OrderID, expiry)
		<-time.After(time.Until(expiry.Add(-3 * time.Millisecond)))
		var seen GateView
		errs := race(
			func() error { _, err := o.cast(req.OrderID, yes("bob")); return err },
			func() (err error) {
				for err == nil && seen.Verdict == nil {
					seen, err = o.worker.advance(context.Background(), req)
				}
				return err
			})
		g := o.gate(req.OrderID)
		ends[g.State]++
		agreed := g.State == GateApproved && errs[0] == nil && seen.Verdict.OK && len(o.decisions(req.OrderID)) == 1 ||
			g.State == GateExpired && code(errs[0]) == "approval_expired" && !seen.Verdict.OK && len(o.decisions(req.OrderID)) == 0
		if errs[1] != nil || !agreed {
			t.Fatalf("the gate is %s, the manager was told %v, the workflow %+v, %v", g.State, errs[0], seen.Verdict, errs[1])
		}
	}
	t.Logf("ended %v", ends)
}

func TestVoteOfAnExpiredGateIsRefusedBeforeItsExpiryIsNoted(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	id := o.gated("acme", 5_000).OrderID
	o.exec(`update gates set expire_at = now() where id = $1`, id)
	if _, err := o.cast(id, yes("bob")); code(err) != "approval_expired" {
		t.Errorf("told %v", err)
	}
}

// What is raised through Dapr is a vote like any other.
func TestHear(t *testing.T) {
	for _, c := range []struct {
		name, event string
		state       GateState
	}{
		{"an approval", `{"approver":"bob","decision":"approve"}`, GateApproved},
		{"a rejection", `{"approver":"bob","decision":"reject","reason":"no"}`, GateRejected},
		{"a rejection without a reason", `{"approver":"bob","decision":"reject"}`, GateOpen},
		{"by who ordered", `{"approver":"carl","decision":"approve"}`, GateOpen},
		{"above the limit", `{"approver":"eve","decision":"approve"}`, GateOpen},
		{"a poke", `{}`, GateOpen},
		{"no object", `"approve"`, GateOpen},
		{"nothing", ``, GateOpen},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOffice(t)
			p := board()
			p.Approvers = append(p.Approvers, Approver{ID: "eve", Limit: 10, Level: 1})
			o.company("acme", 1_000_000, p)
			req := o.gated("acme", 5_000)
			req.Event = json.RawMessage(c.event)
			view, err := o.worker.hear(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if g := o.gate(req.OrderID); g.State != c.state || (view.Verdict != nil) != (c.state != GateOpen) {
				t.Errorf("the gate is %s and the workflow sees %+v, want %s", g.State, view, c.state)
			}
			for _, d := range o.decisions(req.OrderID) {
				if d.Source != "dapr" {
					t.Errorf("source is %q", d.Source)
				}
			}
		})
	}
}

func TestGateRemindsEscalatesAndExpires(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	req := o.gated("acme", 5_000)
	id := req.OrderID
	for _, due := range []string{"remind_at", "escalate_at", "expire_at"} {
		o.exec(`update gates set `+due+` = now() where id = $1`, id)
		for range 2 { // an activity may run twice
			if _, err := o.worker.advance(t.Context(), req); err != nil {
				t.Fatal(err)
			}
		}
	}
	o.expectEmitted(id, b2b.TypeApprovalRequested, b2b.TypeApprovalRequested, b2b.TypeApprovalEscalated)
	told := servicetest.Emitted(t, o.Pool)[id]
	if e, ok := told[1].(*b2b.ApprovalRequested); !ok || !e.Reminder || !slices.Equal(e.Approvers, []string{"alice", "bob"}) {
		t.Errorf("reminded %+v", told[1])
	}
	if e, ok := told[2].(*b2b.ApprovalEscalated); !ok || e.Level != 2 || !slices.Equal(e.Approvers, []string{"alice", "bob", "zoe"}) {
		t.Errorf("escalated %+v", told[2])
	}
	if g := o.gate(id); g.State != GateExpired || g.ObservedAt == nil {
		t.Errorf("the gate is %+v", g)
	}
	if v, ended := o.load(id).Ended(stepApproval); !ended || v.Reason.Code != reasonExpired {
		t.Errorf("the step ended %v with %+v", ended, v)
	}
}

// A decision that came before the customer's cancellation stays what it is, and
// counts as heard.
func TestCancellationAfterTheDecision(t *testing.T) {
	for _, v := range []Vote{yes("bob"), no("bob", "no")} {
		o := newOffice(t)
		o.company("acme", 1_000_000, board())
		req := o.gated("acme", 5_000)
		if _, err := o.cast(req.OrderID, v); err != nil {
			t.Fatal(err)
		}
		o.exec(`update orders set cancel_asked = true, version = version + 1 where id = $1`, req.OrderID)
		view, err := o.worker.lookAtGate(t.Context(), req)
		if err != nil || view.Verdict == nil || view.Verdict.OK != (v.Decision == Approve) {
			t.Errorf("%s: the workflow sees %+v, %v", v.Decision, view.Verdict, err)
		}
		if o.gate(req.OrderID).ObservedAt == nil {
			t.Errorf("%s: the decision still counts as unheard", v.Decision)
		}
	}
}

func TestDecisionsAreAppendOnly(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	if _, err := o.cast(o.gated("acme", 5_000).OrderID, yes("bob")); err != nil {
		t.Fatal(err)
	}
	owner := pgtest.Owner(t, o.Pool)
	for _, sql := range []string{`update decisions set verdict = 'reject', reason = 'x'`, `delete from decisions`, `truncate decisions`} {
		if _, err := owner.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if n := o.number(`select count(*) from decisions`); n != 1 {
		t.Errorf("%d decisions are left", n)
	}
}

// Read back from PostgreSQL, a chain is whole; a change behind the trigger shows.
func TestChainIsWholeUntilSomebodyTampersWithIt(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	id := o.gated("acme", 10_000).OrderID
	for _, v := range []Vote{yes("alice"), no("zoe", `too "dear", I think`)} {
		if _, err := o.cast(id, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := decisionlog.Check(o.decisions(id)); err != nil {
		t.Fatal(err)
	}
	o.tamper(`update decisions set reason = 'too cheap' where seq = 2`)
	if err := decisionlog.Check(o.decisions(id)); !errors.Is(err, decisionlog.ErrBroken) {
		t.Errorf("a changed reason: %v", err)
	}
}

// race runs functions released at one moment, and returns their errors.
func race(run ...func() error) []error {
	errs := make([]error, len(run))
	start := make(chan struct{})
	var all sync.WaitGroup
	for i, f := range run {
		all.Go(func() { <-start; errs[i] = f() })
	}
	close(start)
	all.Wait()
	return errs
}
