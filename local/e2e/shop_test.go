package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
)

// basket is what a customer orders.
type basket struct {
	CustomerID   string        `json:"customer_id"`
	Currency     string        `json:"currency"`
	PaymentToken string        `json:"payment_token"`
	Lines        []events.Line `json:"lines"`
}

// basketOf is one customer's order of some units of one SKU, at 2.50 each.
func basketOf(sku string, units int64, token string) basket {
	return basket{
		CustomerID: "customer-" + sku, Currency: "GBP", PaymentToken: token,
		Lines: []events.Line{{SKU: sku, Quantity: units, UnitPrice: 250}},
	}
}

// answer is a service's answer.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) decode(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("answer %d is not JSON: %v: %s", a.status, err, a.body)
	}
}

// send sends body, a value for JSON or the text itself.
func (s *system) send(ctx context.Context, method, url string, header map[string]string, body any) (answer, error) {
	var payload []byte
	switch b := body.(type) {
	case nil:
	case string:
		payload = []byte(b)
	default:
		var err error
		if payload, err = json.Marshal(b); err != nil {
			return answer{}, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(payload))
	if err != nil {
		return answer{}, err
	}
	if payload != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	res, err := s.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, text}, err
}

// ask is send for calls that must be answered.
func (s *system) ask(t *testing.T, method, url string, header map[string]string, body any) answer {
	t.Helper()
	a, err := s.send(t.Context(), method, url, header, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return a
}

// newKey returns an idempotency key.
func newKey() string { return uuid.NewString() }

// unsampled is a trace context that services follow but do not export.
func unsampled() string {
	hex := strings.ReplaceAll(uuid.NewString(), "-", "")
	return "00-" + hex + "-" + hex[:16] + "-00"
}

// checkout sends an order once.
func (s *system) checkout(ctx context.Context, key string, b basket) (answer, error) {
	return s.send(ctx, http.MethodPost, s.HTTPURL("checkout")+"/v1/checkouts",
		map[string]string{"Idempotency-Key": key, "traceparent": unsampled()}, b)
}

// place sends an order until it is accepted, as a client that follows the rules
// does: again with the same key whenever it does not know.
func (s *system) place(ctx context.Context, b basket) (uuid.UUID, error) {
	key := newKey()
	for {
		a, err := s.checkout(ctx, key, b)
		switch {
		case err == nil && a.status == http.StatusAccepted:
			var receipt struct{ ID uuid.UUID }
			return receipt.ID, json.Unmarshal(a.body, &receipt)
		case err == nil && a.status/100 == 4 && a.status != http.StatusConflict:
			return uuid.Nil, fmt.Errorf("refused with %d: %s", a.status, a.body)
		}
		if err := pause(ctx); err != nil {
			return uuid.Nil, fmt.Errorf("not accepted: %w, last answer %d %s", err, a.status, a.body)
		}
	}
}

// pause spaces the repetitions of a client.
func pause(ctx context.Context) error {
	timer := time.NewTimer(pollEvery)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (s *system) mustPlace(t *testing.T, b basket) uuid.UUID {
	t.Helper()
	id, err := s.place(t.Context(), b)
	if err != nil {
		t.Fatalf("place: %v", err)
	}
	return id
}

// cancel asks for an order to be cancelled until there is a decision, and returns
// whether it was.
func (s *system) cancel(ctx context.Context, id uuid.UUID) (bool, error) {
	for {
		a, err := s.send(ctx, http.MethodPost, s.orderURL(id)+"/cancel", nil, nil)
		switch {
		case err == nil && a.status == http.StatusOK:
			return true, nil
		case err == nil && a.status == http.StatusConflict:
			return false, nil
		}
		if err := pause(ctx); err != nil {
			return false, fmt.Errorf("no decision: %w, last answer %d %s", err, a.status, a.body)
		}
	}
}

func (s *system) orderURL(id uuid.UUID) string {
	return s.HTTPURL("order") + "/v1/orders/" + id.String()
}

// orderView is an order as the order service shows it.
type orderView struct {
	ID       uuid.UUID
	Status   string
	Reason   *events.Reason
	WaitsFor string `json:"waits_for"`
	Timeline []struct{ Event string }
}

// awaitFact waits until the order service has heard of an event of an order.
func (s *system) awaitFact(t *testing.T, id uuid.UUID, event string) {
	t.Helper()
	eventually(t, soon, event, func(ctx context.Context) error {
		a, err := s.send(ctx, http.MethodGet, s.orderURL(id), nil, nil)
		if err == nil && !bytes.Contains(a.body, []byte(`"`+event+`"`)) {
			err = fmt.Errorf("order is %s", a.body)
		}
		return err
	})
}

func (s *system) order(t *testing.T, id uuid.UUID) orderView {
	t.Helper()
	var v orderView
	s.ask(t, http.MethodGet, s.orderURL(id), nil, nil).decode(t, &v)
	return v
}

// stockView is a SKU's stock as inventory shows it.
type stockView struct {
	Available  int64
	Warehouses []struct {
		Warehouse string
		OnHand    int64 `json:"on_hand"`
		Held      int64
	}
}

func (s *system) stock(t *testing.T, sku string) stockView {
	t.Helper()
	var v stockView
	s.ask(t, http.MethodGet, s.HTTPURL("inventory")+"/v1/stock/"+sku, nil, nil).decode(t, &v)
	return v
}

// setStock says how many units of a SKU lie in each warehouse.
func (s *system) setStock(t *testing.T, sku string, units map[string]int64) {
	t.Helper()
	type count struct {
		Warehouse string `json:"warehouse"`
		OnHand    int64  `json:"on_hand"`
	}
	var counts []count
	for warehouse, n := range units {
		counts = append(counts, count{warehouse, n})
	}
	url, header := s.AdminURL("inventory")+"/v1/stock/"+sku, s.adminAuth("inventory")
	set := func(name, value string) answer {
		return s.ask(t, http.MethodPut, url, map[string]string{"Authorization": header["Authorization"], name: value}, map[string]any{"warehouses": counts})
	}
	a := set("If-None-Match", "*")
	for a.status == http.StatusPreconditionFailed { // it had some, or some of it moves
		a = set("If-Match", s.ask(t, http.MethodGet, url, header, nil).header.Get("ETag"))
	}
	if a.status != http.StatusOK {
		t.Fatalf("set stock: %d %s", a.status, a.body)
	}
}

// providerMode makes the payment provider misbehave.
func (s *system) providerMode(t *testing.T, mode string, d time.Duration) {
	t.Helper()
	a := s.ask(t, http.MethodPost, s.PSPURL()+"/admin/mode", s.providerAuth(),
		map[string]any{"mode": mode, "for_ms": d.Milliseconds()})
	if a.status != http.StatusOK {
		t.Fatalf("set the provider's mode: %d %s", a.status, a.body)
	}
}

func (s *system) providerAuth() map[string]string {
	return map[string]string{"Authorization": "Bearer " + s.PSPKey()}
}
