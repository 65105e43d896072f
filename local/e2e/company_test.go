package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/events"
)

const (
	b2b = "b2b"
	// sagaSoon is how soon sagas must have ended once everything runs again: a minute
	// for workflows that Dapr left hanging to be started again, and time to go on.
	sagaSoon = time.Minute + settleWithin
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
	a := s.ask(t, http.MethodPut, s.AdminURL(b2b)+"/v1/b2b/companies/"+c.name, s.adminAuth(b2b), map[string]any{
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
func (c *company) submit(ctx context.Context, units, price int64) (uuid.UUID, error) {
	var receipt struct{ ID uuid.UUID }
	a, err := c.insist(ctx, http.MethodPost, "/v1/b2b/orders", map[string]any{
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
	id, err := c.submit(c.t.Context(), units, price)
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

// decide gives a decision until it is known to count, or to come too late.
func (c *company) decide(ctx context.Context, id uuid.UUID, who, decision string) (counts bool, err error) {
	a, err := c.insist(ctx, http.MethodPost, "/v1/b2b/orders/"+id.String()+"/approval",
		map[string]string{"approver": who, "decision": decision, "reason": "as tested"})
	return a.status == http.StatusOK, err
}

// mustCount is decide for a decision that nothing rivals.
func (c *company) mustCount(ctx context.Context, id uuid.UUID, who, decision string) error {
	counts, err := c.decide(ctx, id, who, decision)
	if err == nil && !counts {
		err = fmt.Errorf("%s of %s came too late", decision, id)
	}
	return err
}

// cancel asks for an order to be cancelled until there is an answer, and returns
// whether it is.
func (c *company) cancel(ctx context.Context, id uuid.UUID) (bool, error) {
	a, err := c.insist(ctx, http.MethodPost, "/v1/b2b/orders/"+id.String()+"/cancel", nil)
	return a.status == http.StatusOK, err
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

// awaitGates waits until orders have come to their approval gate, and returns when
// each of these closes by itself.
func (c *company) awaitGates(ids ...uuid.UUID) map[uuid.UUID]time.Time {
	c.t.Helper()
	expiry := map[uuid.UUID]time.Time{}
	eventually(c.t, sagaSoon, "gates opened", func(ctx context.Context) error {
		rows, err := c.books.pools[b2b].Query(ctx, `select id, expire_at from gates where id = any($1)`, ids)
		if err != nil {
			return err
		}
		var id uuid.UUID
		var at time.Time
		_, err = pgx.ForEachRow(rows, []any{&id, &at}, func() error { expiry[id] = at; return nil })
		if err == nil && len(expiry) < len(ids) {
			err = fmt.Errorf("only %d of %d", len(expiry), len(ids))
		}
		return err
	})
	return expiry
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
