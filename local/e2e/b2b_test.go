package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/events"
	"quadrille.internal/local/quad/stack"
)

const (
	b2b = "b2b"
	// sagaSoon is how soon sagas must have ended once everything runs again.
	sagaSoon = 60 * time.Second
)

// company is a customer with a credit limit and an approval policy, of one test.
type company struct {
	*system
	t    *testing.T
	name string
	sku  string
}

// newCompany adds a company whose orders of 100.00 and more wait for ann, bob or
// cid, and expire.
func (s *system) newCompany(t *testing.T, limit int64, units map[string]int64, expire time.Duration) *company {
	t.Helper()
	c := &company{system: s, t: t, name: "company-" + newKey()[:8]}
	c.sku = "sku-" + c.name
	s.setStock(t, c.sku, units)
	a := s.ask(t, http.MethodPut, s.HTTPURL(b2b)+"/v1/b2b/companies/"+c.name, nil, map[string]any{
		"name": c.name, "currency": "GBP", "credit_limit": limit, "warehouses": slices.Sorted(maps.Keys(units)),
		"policy": map[string]any{
			"rules": []map[string]any{{"from": 10_000, "need": 1}},
			"approvers": []map[string]any{
				{"id": "ann", "limit": 1_000_000, "level": 1},
				{"id": "bob", "limit": 1_000_000, "level": 1},
				{"id": "cid", "limit": 1_000_000, "level": 2},
			},
			"remind_after": (expire / 4).String(), "escalate_after": (expire / 2).String(), "expire_after": expire.String(),
		},
	})
	if a.status != http.StatusOK {
		t.Fatalf("add company: %d %s", a.status, a.body)
	}
	return c
}

// submit orders units at a price until it is accepted.
func (c *company) submit(units, price int64) (uuid.UUID, error) {
	var receipt struct{ ID uuid.UUID }
	a, err := c.insist(c.t.Context(), http.MethodPost, "/v1/b2b/orders", map[string]any{
		"company_id": c.name, "ordered_by": "eve",
		"lines": []events.Line{{SKU: c.sku, Quantity: units, UnitPrice: price}},
	})
	if err != nil {
		return uuid.Nil, err
	}
	if err := json.Unmarshal(a.body, &receipt); err != nil {
		return uuid.Nil, fmt.Errorf("answer %d %s: %w", a.status, a.body, err)
	}
	return receipt.ID, nil
}

func (c *company) mustSubmit(units, price int64) uuid.UUID {
	c.t.Helper()
	id, err := c.submit(units, price)
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

// decide gives a decision until it is known to count, or to come too late.
func (c *company) decide(id uuid.UUID, who, decision string) (counts bool, err error) {
	a, err := c.insist(c.t.Context(), http.MethodPost, "/v1/b2b/orders/"+id.String()+"/approval",
		map[string]string{"approver": who, "decision": decision, "reason": "as tested"})
	return a.status == http.StatusOK, err
}

// mustCount is decide for a decision that nothing rivals.
func (c *company) mustCount(id uuid.UUID, who, decision string) error {
	counts, err := c.decide(id, who, decision)
	if err == nil && !counts {
		err = fmt.Errorf("%s of %s came too late", decision, id)
	}
	return err
}

// insist repeats a call while the service is away, or its gate is not open yet.
func (c *company) insist(ctx context.Context, method, path string, body any) (answer, error) {
	header := map[string]string{"Idempotency-Key": newKey(), "traceparent": unsampled()}
	for {
		a, err := c.send(ctx, method, c.HTTPURL(b2b)+path, header, body)
		switch {
		case err == nil && a.status < 300 || err == nil && a.status == http.StatusConflict:
			return a, nil
		case err == nil && a.status/100 == 4 && a.status != http.StatusNotFound:
			return a, fmt.Errorf("%s %s: %d %s", method, path, a.status, a.body)
		}
		if pauseErr := pause(ctx); pauseErr != nil {
			return a, fmt.Errorf("%s %s: %w, last answer %d %s", method, path, pauseErr, a.status, a.body)
		}
	}
}

// sagas are orders with how each is to end: a status.
type sagas map[uuid.UUID]string

// end waits until all have ended, each as it is to, and the books agree.
func (c *company) end(want sagas) {
	c.t.Helper()
	began := time.Now()
	ids := slices.Collect(maps.Keys(want))
	found := map[uuid.UUID]string{}
	eventually(c.t, sagaSoon, "sagas ended", func(ctx context.Context) error {
		rows, err := c.books.pools[b2b].Query(ctx,
			`select id, status, ended_at is not null, coalesce(steps::text, '') from orders where id = any($1)`, ids)
		if err != nil {
			return err
		}
		var id uuid.UUID
		var status, steps, open string
		var ended bool
		n := 0
		_, err = pgx.ForEachRow(rows, []any{&id, &status, &ended, &steps}, func() error {
			if found[id] = status; !ended {
				n, open = n+1, fmt.Sprintf("%s is %s: %s", id, status, steps)
			}
			return nil
		})
		if err == nil && n > 0 {
			err = fmt.Errorf("%d of %d are open, %s", n, len(ids), open)
		}
		return err
	})
	for id, status := range want {
		if found[id] != status {
			c.t.Errorf("order %s ended %s, not %s", id, found[id], status)
		}
	}
	c.t.Logf("%d sagas had ended %s later", len(want), time.Since(began).Round(10*time.Millisecond))
	c.balanced(c.t)
}

// awaitStatus waits until orders have a status.
func (c *company) awaitStatus(status string, ids ...uuid.UUID) {
	c.t.Helper()
	eventually(c.t, sagaSoon, "orders "+status, func(ctx context.Context) error {
		var n int
		err := c.books.pools[b2b].QueryRow(ctx,
			`select count(*) from orders where id = any($1) and status = $2`, ids, status).Scan(&n)
		if err == nil && n < len(ids) {
			err = fmt.Errorf("only %d of %d", n, len(ids))
		}
		return err
	})
}

// erpMode makes the ERP misbehave.
func (s *system) erpMode(t *testing.T, mode string, d time.Duration) {
	t.Helper()
	a := s.ask(t, http.MethodPost, s.ERPURL()+"/admin/mode", map[string]string{"Authorization": "Bearer " + s.ERPKey()},
		map[string]any{"mode": mode, "for_ms": d.Milliseconds()})
	if a.status != http.StatusOK {
		t.Fatalf("set the ERP's mode: %d %s", a.status, a.body)
	}
}

// Orders are at every step, and some wait for approval, when parts are killed.
// What is decided while they are down counts.
func TestB2B_KilledAtEveryStepEachOrderEndsAsDecided(t *testing.T) {
	for _, victims := range [][]string{
		{b2b}, {stack.Sidecar(b2b)}, {"scheduler"}, {"placement"},
		{stack.Sidecar("inventory")}, {"postgres"},
		{b2b, stack.Sidecar(b2b), "scheduler", "placement"},
	} {
		t.Run(fmt.Sprint(victims), func(t *testing.T) {
			s := sys
			c := s.newCompany(t, 10_000_000, map[string]int64{"leeds": 500, "york": 500}, time.Hour)
			hasty := s.newCompany(t, 10_000_000, map[string]int64{"leeds": 500}, 3*time.Second)
			want := sagas{}
			var waiting []uuid.UUID
			for range 6 {
				waiting = append(waiting, c.mustSubmit(1, 20_000))
			}
			c.awaitStatus("awaiting_approval", waiting...)
			s.erpMode(t, "slow", 2*time.Second) // so that some are at the ERP
			for range 4 {
				want[c.mustSubmit(1, 500)] = "completed"
				want[hasty.mustSubmit(1, 20_000)] = "rejected"
			}
			for range 4 {
				want[c.mustSubmit(1, 500)] = "completed"
				<-time.After(time.Duration(rand.IntN(100)) * time.Millisecond)
			}
			for _, victim := range victims {
				s.kill(t, victim)
			}
			var all sync.WaitGroup
			for i, id := range waiting {
				decision := []string{"approve", "reject"}[i%2]
				want[id] = map[string]string{"approve": "completed", "reject": "rejected"}[decision]
				all.Go(func() {
					if err := c.mustCount(id, "ann", decision); err != nil {
						t.Error(err)
					}
				})
			}
			<-time.After(time.Second)
			s.revive(t)
			all.Wait()
			c.end(want)
		})
	}
}

// Two managers, and the clock, at once: one outcome, and it is the one each was
// told.
func TestB2B_RivalDecisionsHaveOneOutcome(t *testing.T) {
	s := sys
	c := s.newCompany(t, 10_000_000, map[string]int64{"leeds": 500}, 2*time.Second)
	var ids []uuid.UUID
	for range 20 {
		ids = append(ids, c.mustSubmit(1, 20_000))
	}
	c.awaitStatus("awaiting_approval", ids...)
	var all sync.WaitGroup
	approved, rejected := make([]bool, len(ids)), make([]bool, len(ids))
	for i, id := range ids {
		all.Go(func() {
			<-time.After(time.Duration(1000+i*60) * time.Millisecond) // some before, some after the expiry
			var rivals sync.WaitGroup
			for _, r := range []struct {
				who, decision string
				counts        *bool
			}{{"ann", "approve", &approved[i]}, {"bob", "reject", &rejected[i]}} {
				rivals.Go(func() {
					var err error
					if *r.counts, err = c.decide(id, r.who, r.decision); err != nil {
						t.Error(err)
					}
				})
			}
			rivals.Wait()
		})
	}
	all.Wait()
	want, expired := sagas{}, 0
	for i, id := range ids {
		want[id] = "rejected"
		switch {
		case approved[i] && rejected[i]:
			t.Errorf("order %s: both were told that they decided", id)
		case approved[i]:
			want[id] = "completed"
		case !rejected[i]:
			expired++
		}
	}
	t.Logf("%d of %d expired", expired, len(ids))
	c.end(want)
}

// A hundred orders, approved, rejected and left to expire, while parts are killed
// at random, one or several at once.
func TestB2B_HundredSagasUnderRandomKills(t *testing.T) {
	s, kills := sys, 8
	if os.Getenv("QUADRILLE_SOAK") != "" {
		kills = 500
	}
	for done := 0; done < kills; {
		round := min(kills-done, 8)
		s.sagasUnderKills(t, round)
		done += round
		t.Logf("%d kills", done)
		if t.Failed() {
			return
		}
	}
}

func (s *system) sagasUnderKills(t *testing.T, kills int) {
	t.Helper()
	const crowd = 100
	c := s.newCompany(t, 100_000_000, map[string]int64{"leeds": crowd, "york": crowd}, time.Hour)
	hasty := s.newCompany(t, 100_000_000, map[string]int64{"leeds": crowd}, 4*time.Second)
	want := sagas{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range crowd {
		all.Go(func() {
			<-time.After(time.Duration(i) * 50 * time.Millisecond)
			id, status, err := c.live(hasty, i)
			mu.Lock()
			defer mu.Unlock()
			if want[id] = status; err != nil {
				t.Error(err)
			}
		})
	}
	parts := []string{b2b, stack.Sidecar(b2b), "scheduler", "placement"}
	for range kills {
		<-time.After(time.Duration(rand.IntN(800)) * time.Millisecond)
		rand.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		for _, victim := range parts[:1+rand.IntN(2)] {
			s.kill(t, victim)
		}
		s.revive(t)
	}
	all.Wait()
	if !t.Failed() {
		c.end(want)
	}
}

// live places an order and decides on it, and returns how it is to end.
func (c *company) live(hasty *company, i int) (uuid.UUID, string, error) {
	switch i % 4 {
	case 0: // needs no approval
		id, err := c.submit(1, 500)
		return id, "completed", err
	case 1: // expires
		id, err := hasty.submit(1, 20_000)
		return id, "rejected", err
	case 2:
		id, err := c.submit(1, 20_000)
		if err == nil {
			err = c.mustCount(id, "bob", "reject")
		}
		return id, "rejected", err
	default:
		id, err := c.submit(1, 20_000)
		if err == nil {
			err = c.mustCount(id, "ann", "approve")
		}
		return id, "completed", err
	}
}

func TestB2B_RacingForTheLastCreditAndTheLastStock(t *testing.T) {
	const crowd, fitting = 50, 20
	for _, r := range []struct {
		name         string
		limit, units int64
	}{
		{"credit", fitting*500 + 499, crowd},
		{"stock", crowd * 500, fitting},
	} {
		t.Run(r.name, func(t *testing.T) {
			s := sys
			c := s.newCompany(t, r.limit, map[string]int64{"leeds": r.units / 2, "york": r.units - r.units/2}, time.Hour)
			ids := make([]uuid.UUID, crowd)
			s.allAtOnce(crowd, func(i int) {
				var err error
				if ids[i], err = c.submit(1, 500); err != nil {
					t.Error(err)
				}
			})
			var completed, rejected int
			eventually(t, sagaSoon, "all ended", func(ctx context.Context) error {
				err := s.books.pools[b2b].QueryRow(ctx, `
					select count(*) filter (where status = 'completed'), count(*) filter (where status = 'rejected')
					from orders where id = any($1)`, ids).Scan(&completed, &rejected)
				if err == nil && completed+rejected < crowd {
					err = fmt.Errorf("%d completed, %d rejected", completed, rejected)
				}
				return err
			})
			if completed != fitting {
				t.Errorf("%d completed, want %d", completed, fitting)
			}
			s.balanced(t)
		})
	}
}

// A minute in a soak.
func TestB2B_OrdersWaitForAnERPThatIsDown(t *testing.T) {
	s, down := sys, 6*time.Second
	if os.Getenv("QUADRILLE_SOAK") != "" {
		down = time.Minute
	}
	for _, mode := range []string{"down", "flaky", "fail_after", "lose_reply"} {
		t.Run(mode, func(t *testing.T) {
			c := s.newCompany(t, 10_000_000, map[string]int64{"leeds": 50}, time.Hour)
			s.erpMode(t, mode, down)
			want := sagas{}
			for range 10 {
				want[c.mustSubmit(1, 500)] = "completed"
			}
			c.end(want)
		})
	}
}
