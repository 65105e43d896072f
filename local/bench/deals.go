package bench

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	b2b "quadrille.internal/workflows/b2b/audit"
)

// What only companies' orders need: companies, and somebody who approves.

// companies are so many that their credit is not what orders queue for.
const companies = 100

const approver = "manager"

func companyID(i int) string { return fmt.Sprintf("%s%d", orderPrefix, i) }

// foundCompanies sets the companies' terms: credit without end, and an approval of
// every order.
func foundCompanies(ctx context.Context, admin adminPort) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(clerks)
	body := fmt.Sprintf(`{"name":"Bench","currency":"GBP","credit_limit":%d,"warehouses":["bench"],"policy":{
		"rules":[{"from":0,"need":1}],"approvers":[{"id":%q,"limit":%[1]d,"level":1}],"delegations":[]}}`,
		int64(1_000_000_000_000_000), approver)
	for i := range companies {
		group.Go(func() error {
			w := newWire(admin.addr)
			defer w.close()
			a, err := w.do(ctx, admin.request("", http.MethodPut, "/v1/b2b/companies/"+companyID(i), body))
			if err != nil {
				return fmt.Errorf("found companies: %w", err)
			}
			if a.status != http.StatusOK {
				return fmt.Errorf("found companies: status %d: %s", a.status, a.body)
			}
			return nil
		})
	}
	return group.Wait()
}

// approve has every order approved that has begun to wait for it; asked are those
// that were passed on before.
func (t *trial) approve(ctx context.Context, asked map[int]bool, from string) error {
	prefix := orderPrefix + t.runID + "-"
	gates, err := b2b.OpenGates(ctx, t.books.conns["b2b"], from, prefix)
	if err != nil {
		return fmt.Errorf("read which orders wait for approval: %w", err)
	}
	for _, g := range gates {
		i, err := numberOf(g.Key, prefix)
		if err != nil {
			return err
		}
		if !asked[i] {
			asked[i] = true
			t.load.wishes <- wish{i: i, id: g.ID}
		}
	}
	return nil
}

// approve approves an order, as its approver does.
func (l *load) approve(ctx context.Context, w *wire, wanted wish) error {
	sent := time.Since(l.began)
	a, err := w.do(ctx, plainRequest(http.MethodPost, l.desk, l.scenario.trade.path+"/"+wanted.id+"/approval",
		`{"approver":"`+approver+`","decision":"approve"}`))
	if err != nil {
		return fmt.Errorf("approve an order: %w", err)
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("approve order %s: status %d: %s", wanted.id, a.status, a.body)
	}
	l.placed[wanted.i].decided = sent
	l.decided.Add(1)
	return nil
}

// awaitDecisions waits until all orders are decided: the last may wait for theirs
// after the last was placed.
func (l *load) awaitDecisions(ctx context.Context) error {
	for l.decided.Load() < l.accepted.Load() {
		if failure := l.failure.Load(); failure != nil {
			return *failure
		}
		if err := sleep(ctx, decideEvery); err != nil {
			return err
		}
	}
	return nil
}
