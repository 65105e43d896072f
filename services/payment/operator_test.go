package payment

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/payment/wire"
)

// refusedPayments are some whose provider was configured wrongly.
func (f fixture) refusedPayments(t *testing.T, n int) []uuid.UUID {
	t.Helper()
	r := f.replicaOf(t, f.psp.URL+"/wrong", f.psp.Key)
	recorded := servicetest.Run(t, r.outcomes.Run)
	stop := servicetest.Run(t, r.cashier.run)
	ids := reserveMany(t, r, n, "tok_success")
	for _, id := range ids {
		f.await(t, id, Refused)
	}
	stop()
	recorded()
	return ids
}

func TestOperatorSeesAndResumesRefusedPayments(t *testing.T) {
	f := newFixture(t, 0)
	ids := f.refusedPayments(t, 5)
	r := f.replica(t).withCashier(t)
	operator := servicetest.Serve(t, r.books.operatorRoutes)

	seen := make(map[uuid.UUID]bool)
	for query := "status=refused&limit=2"; query != ""; {
		a := operator.Do(http.MethodGet, "/v1/payments?"+query, "")
		var page struct {
			Payments []wire.Payment
			Next     string `json:"next_cursor"`
		}
		if err := json.Unmarshal([]byte(a.Body), &page); err != nil || len(page.Payments) > 2 || strings.Contains(a.Body, "tok_") {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
		for _, p := range page.Payments {
			if seen[p.OrderID] || !p.Resumable || !strings.Contains(p.LastError, "status 404") || p.RefusedAt == nil {
				t.Errorf("listed %+v", p)
			}
			seen[p.OrderID] = true
		}
		if query = ""; page.Next != "" {
			query = "status=refused&limit=2&cursor=" + page.Next
		}
	}
	if len(seen) != len(ids) {
		t.Errorf("listed %d, want %d", len(seen), len(ids))
	}

	if a := operator.Do(http.MethodPost, "/v1/payments/"+ids[0].String()+"/resume", ""); a.Status != http.StatusOK {
		t.Fatalf("resume: %d %s", a.Status, a.Body)
	}
	f.await(t, ids[0], Completed)
	f.expect(t, ids[0], paidEvent, charged)
	if a := operator.Do(http.MethodGet, "/v1/payments/"+ids[0].String(), ""); !strings.Contains(a.Body, `"completed"`) {
		t.Errorf("show: %d %s", a.Status, a.Body)
	}

	// The others' orders run out of time: nobody is charged.
	for _, id := range ids[1:] {
		r.deliver(t, orderCancelled(id))
		f.await(t, id, Void)
		f.expect(t, id, []string{}, money{})
	}
	if err := r.books.count(t.Context()); err != nil || r.books.refused.Load() != 0 {
		t.Errorf("counts %d refused, error %v", r.books.refused.Load(), err)
	}
}

func TestOperatorsMistakes(t *testing.T) {
	f := newFixture(t, 0)
	r := f.replica(t)
	id := reserveMany(t, r, 1, "tok_success")[0].String()
	operator := servicetest.Serve(t, r.books.operatorRoutes)
	for _, c := range []struct {
		method, path string
		status       int
		code         string
	}{
		{http.MethodGet, "/v1/payments", http.StatusBadRequest, "not_listed"},
		{http.MethodGet, "/v1/payments?status=refused&limit=0", http.StatusBadRequest, "out_of_range"},
		{http.MethodGet, "/v1/payments?status=refused&cursor=x", http.StatusBadRequest, "not_a_cursor"},
		{http.MethodGet, "/v1/payments/7", http.StatusBadRequest, "not_a_uuid"},
		{http.MethodGet, "/v1/payments/" + uuid.NewString(), http.StatusNotFound, "payment_not_found"},
		{http.MethodPost, "/v1/payments/" + uuid.NewString() + "/resume", http.StatusNotFound, "payment_not_found"},
		{http.MethodPost, "/v1/payments/" + id + "/resume", http.StatusConflict, "not_resumable"},
	} {
		a := operator.Do(c.method, c.path, "")
		if p := a.Problem(); a.Status != c.status || !strings.Contains(a.Body, c.code) {
			t.Errorf("%s %s: %d %+v", c.method, c.path, a.Status, p)
		}
	}
}

// A refused payment does not keep its means of payment for ever.
func TestTokensOfRefusedPaymentsAreForgotten(t *testing.T) {
	f := newFixture(t, 0)
	ids := f.refusedPayments(t, 2)
	f.exec(t, `update payments set refused_at = now() - interval '25 h' where id = $1`, ids[0])
	r := f.replica(t)
	if err := r.books.count(t.Context()); err != nil || r.books.refused.Load() != 2 {
		t.Fatalf("counts %d refused, error %v", r.books.refused.Load(), err)
	}
	if old, young := f.payment(t, ids[0]), f.payment(t, ids[1]); old.Token != "" || young.Token == "" {
		t.Errorf("tokens are %q after 25 h, and %q", old.Token, young.Token)
	}
	a := servicetest.Serve(t, r.books.operatorRoutes).Do(http.MethodPost, "/v1/payments/"+ids[0].String()+"/resume", "")
	if a.Status != http.StatusConflict {
		t.Errorf("resumed without a token: %d %s", a.Status, a.Body)
	}
}
