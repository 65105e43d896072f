package b2b

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/workflows/b2b/decisionlog"
	"quadrille.internal/workflows/b2b/wire"
)

func TestApproverSeesTheOneOrderBehindManyThatAreOthers(t *testing.T) {
	const others = 600
	o := newOffice(t)
	o.company("acme", 1_000_000_000, board())
	for range others {
		o.gated("acme", 6_000)
	}
	want := o.gated("acme", 5_000)
	var list wire.Approvals
	o.ask("/v1/b2b/approvals?approver=bob", &list)
	if len(list.Approvals) != 1 || list.Approvals[0].OrderID != want.OrderID || list.Next != "" {
		t.Errorf("bob is shown %d orders, want the one that he may decide on", len(list.Approvals))
	}
	var all []uuid.UUID
	for cursor := ""; ; cursor = list.Next {
		list = wire.Approvals{}
		o.ask("/v1/b2b/approvals?approver=alice&limit=250&cursor="+cursor, &list)
		for _, p := range list.Approvals {
			all = append(all, p.OrderID)
		}
		if list.Next == "" {
			break
		}
	}
	slices.SortFunc(all, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	if n := len(slices.Compact(all)); n != others+1 {
		t.Errorf("alice's pages hold %d orders, want %d", n, others+1)
	}
}

func TestApprovalsRefusesWhatIsNoPage(t *testing.T) {
	o := newOffice(t)
	for query, want := range map[string]string{
		"":                          "approver",
		"approver=a+b":              "approver",
		"approver=a&limit=0":        "limit",
		"approver=a&limit=501":      "limit",
		"approver=a&limit=many":     "limit",
		"approver=a&cursor=x":       "cursor",
		"approver=a&cursor=MTIzNDU": "cursor",
	} {
		var problem struct{ Field string }
		a := o.request(http.MethodGet, "/v1/b2b/approvals?"+query, "", "")
		if err := json.Unmarshal(a.Body.Bytes(), &problem); err != nil || a.Code != http.StatusBadRequest || problem.Field != want {
			t.Errorf("%q answers %d %s, want 400 about %s", query, a.Code, a.Body, want)
		}
	}
}

func TestCursorIsReadAsItWasWritten(t *testing.T) {
	p := place{time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC), uuid.New()}
	if got, err := parsePlace(p.String()); err != nil || !got.expiresAt.Equal(p.expiresAt) || got.order != p.order {
		t.Errorf("%v is read as %v, %v", p, got, err)
	}
}

// people are few, so that they meet in every part.
var people = []string{"ann", "bob", "cid", "dee", "eve"}

func anybody() string { return people[rand.IntN(len(people))] }

// anyPolicy is one that validate allows, with approvers who are each other's
// delegates, now, before and later, and delegations of who is no approver.
func anyPolicy(now time.Time) Policy {
	var p Policy
	for _, i := range rand.Perm(len(people))[:rand.IntN(len(people)+1)] {
		p.Approvers = append(p.Approvers, Approver{ID: people[i], Limit: int64(rand.IntN(5)), Level: 1 + rand.IntN(3)})
	}
	for range rand.IntN(5) {
		since := now.Add(time.Duration(rand.IntN(5)-3) * time.Microsecond)
		p.Delegations = append(p.Delegations, Delegation{
			From: anybody(), To: anybody(), Since: since, Until: since.Add(time.Duration(1+rand.IntN(4)) * time.Microsecond),
		})
	}
	return p
}

// scene is what is in the database of the property test.
type scene struct {
	policies map[string]Policy
	gates    []*ballot
}

func (o *office) anyScene(now time.Time) *scene {
	o.tamper(`truncate decisions, gates, orders, companies`)
	s := &scene{policies: map[string]Policy{}}
	batch := &pgx.Batch{}
	for _, company := range []string{"acme", "umbrella"} {
		s.policies[company] = anyPolicy(now)
		batch.Queue(`insert into companies (id, name, currency, credit_limit, policy) values ($1, $1, 'GBP', 1000, $2)`, company, s.policies[company])
		for range 8 {
			b := anyBallot(company, now)
			s.gates = append(s.gates, b)
			batch.Queue(`insert into orders (id, idempotency_key, request_hash, company_id, ordered_by, status, lines, amount, currency,
					allow_backorder, erp_order_id, credit, cancel_asked, traceparent, submitted_at, moved_at, version)
				values ($1::uuid, $1::text, '', $2, $3, 'awaiting_approval', '[]', $4, 'GBP', false, '', '', false, '', now(), now(), 1)`,
				b.order.ID, company, b.order.OrderedBy, b.order.Amount)
			batch.Queue(`insert into gates (id, company_id, state, need, level, opened_at, expire_at, version) values ($1, $2, $3, 3, 1, now(), $4, 1)`,
				b.order.ID, company, b.gate.State, b.gate.ExpireAt)
			for _, d := range b.earlier {
				batch.Queue(`insert into decisions (order_id, seq, approver, on_behalf_of, verdict, reason, order_hash, source, decided_at, prev_hash, hash)
					values ($1, $2, $3, $4, 'approve', '', '', 'api', now(), '', '')`, d.OrderID, d.Seq, d.Approver, d.OnBehalfOf)
			}
		}
	}
	if err := o.Pool.SendBatch(o.Context(), batch).Close(); err != nil {
		o.Fatal(err)
	}
	return s
}

func anyBallot(company string, now time.Time) *ballot {
	order := &Order{CompanyID: company, OrderedBy: anybody(), Amount: int64(1 + rand.IntN(4))}
	order.ID = uuid.New()
	state := GateOpen
	if rand.IntN(5) == 0 {
		state = GateApproved
	}
	b := &ballot{order: order, gate: &Gate{CompanyID: company, State: state, ExpireAt: now.Add(time.Duration(rand.IntN(4)) * time.Hour)}}
	b.gate.ID = order.ID
	names := rand.Perm(len(people))
	for i, voter := range rand.Perm(len(people))[:rand.IntN(3)] {
		b.earlier = append(b.earlier, decisionlog.Decision{OrderID: order.ID, Seq: i + 1, Approver: people[voter], OnBehalfOf: people[names[i]]})
	}
	return b
}

// expected is what an approver's list is by the rules in Go.
func (s *scene) expected(person string, now time.Time) (list []string) {
	open := slices.Clone(s.gates)
	slices.SortFunc(open, func(a, b *ballot) int {
		if c := a.gate.ExpireAt.Compare(b.gate.ExpireAt); c != 0 {
			return c
		}
		return slices.Compare(a.order.ID[:], b.order.ID[:])
	})
	for _, b := range open {
		if b.gate.State != GateOpen || !now.Before(b.gate.ExpireAt) ||
			slices.ContainsFunc(b.earlier, func(d decisionlog.Decision) bool { return d.Approver == person }) {
			continue
		}
		principal := s.policies[b.order.CompanyID].Principal(person, b.order.Amount, b.order.OrderedBy, now, b.principals())
		if principal != "" {
			list = append(list, fmt.Sprint(b.order.ID, " as ", principal))
		}
	}
	return list
}

// SQL and Policy.Principal say the same, whatever policies, delegations and
// decisions there are.
func TestApprovalsAreThoseThePolicyAllows(t *testing.T) {
	const scenes = 150
	o := newOffice(t)
	shown := 0
	for range scenes {
		now := time.Now().UTC().Truncate(time.Microsecond)
		s := o.anyScene(now)
		for _, person := range people {
			var got []string
			for after := (place{expiresAt: now, order: uuid.Max}); ; { // what expires at this moment has expired
				page, err := approvalsQuery{person, now, after, 3, nil}.list(t.Context(), o.Pool)
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range page {
					principal := person
					if p.OnBehalfOf != "" {
						principal = p.OnBehalfOf
					}
					got = append(got, fmt.Sprint(p.OrderID, " as ", principal))
					after = place{p.ExpiresAt, p.OrderID}
				}
				if len(page) < 3 {
					break
				}
			}
			if want := s.expected(person, now); !slices.Equal(got, want) {
				t.Fatalf("%s is shown\n%q, want\n%q\nby %+v", person, got, want, s.policies)
			}
			shown += len(got)
		}
	}
	if shown < scenes {
		t.Errorf("only %d orders were shown in all", shown)
	}
}

// waiting fills the tables with orders that wait at their gates, all of acme but a
// hundredth, and with some that have ended.
func waiting(orders int) []string {
	policy, _ := json.Marshal(Policy{
		Rules:       []Rule{{Need: 1}},
		Approvers:   []Approver{{ID: "boss", Limit: 1 << 40, Level: 1}, {ID: "bob", Limit: 10, Level: 1}},
		Delegations: []Delegation{{From: "boss", To: "dave", Since: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour)}},
	})
	const insert = `
		insert into orders (id, idempotency_key, request_hash, company_id, ordered_by, status, lines, amount, currency,
			allow_backorder, erp_order_id, credit, cancel_asked, traceparent, submitted_at, started_at, ended_at, moved_at, next_check_at, version)
		select lpad(to_hex(i), 32, '0')::uuid, i, '', case i % 100 when 0 then 'c' || i % 1000 else 'acme' end, 'carl', `
	const rest = `, '[{"sku": "desk", "quantity": 1, "unit_price": 100}]', 100 + i % 900,
			'GBP', false, '', 'held', false, '', now() - interval '1 hour', now() - interval '1 hour', `
	return []string{
		fmt.Sprintf(`insert into companies (id, name, currency, credit_limit, policy) values ('acme', 'acme', 'GBP', 1000, '%s')`, policy),
		`insert into companies (id, name, currency, credit_limit, policy)
			select 'c' || i, 'c', 'GBP', 1000, jsonb_build_object('approvers', jsonb_build_array(jsonb_build_object('id', 'a' || i, 'limit', 5, 'level', 1)))
			from generate_series(0, 9999) i`,
		insert + `'awaiting_approval'` + rest + fmt.Sprintf(`null, now() - interval '1 hour', now() + interval '1 day', 1 from generate_series(1, %d) i`, orders),
		insert + `'completed'` + rest + fmt.Sprintf(`now(), now() - interval '1 hour', null, 1 from generate_series(%d, %d) i`, orders+1, orders+orders/10),
		`insert into gates (id, company_id, state, need, level, opened_at, expire_at, version)
			select id, company_id, 'open', 1, 1, submitted_at, now() + interval '1 day' + amount * interval '1 second', 1 from orders where ended_at is null`,
	}
}

func TestQueriesOfAnApproverUseIndexes(t *testing.T) {
	servicetest.CheckPlans(t, Service(), waiting(100_000), []string{"gates_waiting", "companies_approvers", "companies_delegations", "decisions_once"},
		func(t *testing.T, kit *service.Kit) {
			now := time.Now().UTC()
			for who, want := range map[string]int{"boss": 101, "dave": 101, "bob": 0, "a7": 0} {
				began := time.Now()
				list, err := approvalsQuery{who, now, place{expiresAt: now}, 101, nil}.list(t.Context(), kit.Pool)
				if err != nil || len(list) != want {
					t.Errorf("%s is shown %d, %v, want %d", who, len(list), err, want)
				}
				t.Logf("%s: %s", who, time.Since(began))
			}
		})
}
