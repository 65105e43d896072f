package b2b

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quadrille.internal/events/b2b"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/workflows/b2b/wire"
)

const secret = "10.1.2.3"

// Customers see codes and safe words, operators the cause.
func TestCustomersSeeNoRawErrors(t *testing.T) {
	raw := &url.Error{Op: "Post", URL: "http://" + secret + "/v1/orders", Err: errors.New("connection refused")}
	for name, c := range map[string]struct {
		step string
		err  error
		code string
	}{
		"the ERP is away":     {stepERP, erpFault(codeERPAway, raw), codeERPAway},
		"the ERP fails":       {undo(stepERP), erpFault(codeERPFailed, errors.New("ERP: status 500: at "+secret)), codeERPFailed},
		"inventory is away":   {stepAllocate, inventoryFault(status.Error(codes.Unavailable, "dial "+secret)), codeInventory},
		"anything else fails": {stepCredit, fmt.Errorf("hold credit: %w", raw), codeInternal},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			o.company("acme", 1_000_000, board())
			req := o.order("acme", 400)
			req.Step, req.Cause = c.step, c.err.Error()
			o.worker.stumble(t.Context(), c.step, req, time.Now(), c.err)
			if _, err := o.worker.stuck(t.Context(), req); err != nil {
				t.Fatal(err)
			}
			got := o.request(http.MethodGet, "/v1/b2b/orders/"+req.OrderID.String(), "", "").Body.String()
			if strings.Contains(got, secret) || !strings.Contains(got, c.code) || !strings.Contains(got, words[c.code]) {
				t.Errorf("a customer is told %s, want %s", got, c.code)
			}
			if got := o.request(http.MethodGet, "/v1/b2b/stuck", "", "").Body.String(); !strings.Contains(got, secret) {
				t.Errorf("an operator is told %s", got)
			}
		})
	}
}

// What an older version stored held causes where words are now.
func TestCustomersSeeNoRawErrorsOfOldOrders(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	id := o.order("acme", 400).OrderID
	verdict := `{"ok": false, "final": "failed", "reason": {"code": "erp_rejected", "message": "see ` + secret + `"}}`
	o.exec(`update orders set status = 'compensation_failed',
		reason = '{"code": "compensation_failed", "message": "undo.erp keeps failing: Post http://`+secret+`"}',
		steps = '[{"name": "undo.erp", "attempts": 3, "error": "Post http://`+secret+`", "started_at": "2026-01-02T03:04:05Z"},
			{"name": "erp", "attempts": 1, "error": "`+secret+`", "started_at": "2026-01-02T03:04:05Z", "ended_at": "2026-01-02T03:04:05Z", "verdict": `+verdict+`}]'
		where id = $1`, id)
	if got := o.request(http.MethodGet, "/v1/b2b/orders/"+id.String(), "", "").Body.String(); strings.Contains(got, secret) {
		t.Errorf("a customer is told %s", got)
	}
	var list wire.StuckOrders
	o.ask("/v1/b2b/stuck", &list)
	if len(list.Stuck) != 1 || !strings.Contains(list.Stuck[0].Why, secret) {
		t.Errorf("an operator is told %+v", list.Stuck)
	}
}

// An ERP's own words about an order go to operators, not into events.
func TestEventsHoldNoWordsOfTheERP(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = w.Write([]byte(`{"error":{"message":"no contract in ` + secret + `"}}`))
	}))
	defer server.Close()
	o.worker.erp = newERP(server.URL, "key")
	req := o.order("acme", 400)
	v, err := o.worker.syncERP(t.Context(), req)
	if err != nil || v.Reason == nil || v.Reason.Code != reasonERP || strings.Contains(v.Reason.Message, secret) {
		t.Fatalf("the step ends with %+v, %v", v.Reason, err)
	}
	if cause := o.load(req.OrderID).Steps[0].Cause; !strings.Contains(cause, secret) {
		t.Errorf("operators find %q", cause)
	}
	// A workflow that began before carries what the ERP said.
	old := refused(Failed, reasonERP, "no contract in "+secret)
	req.Verdict = &old
	if _, err := o.worker.end(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	emitted := servicetest.Emitted(t, o.Pool)[req.OrderID]
	if text, err := json.Marshal(emitted); err != nil || strings.Contains(string(text), secret) {
		t.Errorf("sent %s, %v", text, err)
	}
	if e, ok := emitted[len(emitted)-1].(*b2b.OrderFailed); !ok || e.Reason.Code != reasonERP {
		t.Errorf("sent %+v", emitted)
	}
}

// Two companies number their orders alike; a company repeats its own.
func TestIdempotencyKeysAreTheirCompanysOwn(t *testing.T) {
	o := newOffice(t)
	ids := map[string]uuid.UUID{}
	for _, company := range []string{"acme", "umbrella"} {
		o.company(company, 1_000_000, board())
		for range 2 {
			a := o.request(http.MethodPost, "/v1/b2b/orders", "PO-1", orderJSON(company, 100))
			var receipt wire.Receipt
			if err := json.Unmarshal(a.Body.Bytes(), &receipt); err != nil || a.Code != http.StatusAccepted {
				t.Fatalf("%s is told %d %s", company, a.Code, a.Body)
			}
			if before, ok := ids[company]; ok && before != receipt.ID {
				t.Errorf("%s has the orders %s and %s", company, before, receipt.ID)
			}
			ids[company] = receipt.ID
		}
		if a := o.request(http.MethodPost, "/v1/b2b/orders", "PO-1", orderJSON(company, 200)); a.Code != http.StatusUnprocessableEntity {
			t.Errorf("%s uses its key for another order: %d %s", company, a.Code, a.Body)
		}
	}
	if ids["acme"] == ids["umbrella"] {
		t.Error("two companies share an order")
	}
}

func TestIdempotencyKey(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	api := servicetest.Serve(t, (&server{pool: o.Pool, outbox: o.Outbox, relay: newRelay(o.Pool, nil, o.Log, 3), api: o.API}).routes)
	servicetest.CheckIdempotency(t, orderJSON("acme", 100), orderJSON("acme", 200), func(body string, header ...string) servicetest.Answer {
		return api.Do(http.MethodPost, "/v1/b2b/orders", body, header...)
	})
	if n := o.number(`select count(*) from orders`); n != 12 {
		t.Errorf("%d orders, want 12", n)
	}
}

func orderJSON(company string, price int64) string {
	return fmt.Sprintf(`{"company_id":%q,"ordered_by":"carl","lines":[{"sku":"desk","quantity":1,"unit_price":%d}]}`, company, price)
}

// A column that a later version adds does not trouble this one.
func TestMoreColumnsAreNoTrouble(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	for _, table := range []string{"companies", "orders", "gates", "decisions", "relay_leader"} {
		o.exec(`alter table ` + table + ` add column note text, add column count integer not null default 7`)
	}
	id := o.gated("acme", 5_000).OrderID
	if _, err := o.cast(id, yes("bob")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/b2b/orders/" + id.String(), "/v1/b2b/companies/acme", "/v1/b2b/approvals?approver=bob", "/v1/b2b/stuck"} {
		o.ask(path, new(json.RawMessage))
	}
	if err := o.relay(newDapr()).sweep(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
}
