package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// edge answers requests one after another with what it is told to.
type edge struct {
	mu      sync.Mutex
	answers []http.HandlerFunc
	keys    []string
}

func (e *edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.keys = append(e.keys, r.Header.Get("Idempotency-Key"))
	answer := e.answers[0]
	e.answers = e.answers[1:]
	answer(w, r)
}

func serve(t *testing.T, retryFor time.Duration, answers ...http.HandlerFunc) (*edge, *Client) {
	e := &edge{answers: answers}
	server := httptest.NewServer(e)
	client := New(URLs{Checkout: Access{URL: server.URL}, Order: Access{URL: server.URL}, OrderAdmin: Access{URL: server.URL}}, retryFor)
	t.Cleanup(func() { client.Close(); server.Close() })
	return e, client
}

func problem(status int, code, retryAfter string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]string{"code": code, "detail": "Said so.", "field": "lines"})
	}
}

func cut(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

var order = uuid.MustParse("00000000-0000-7000-8000-000000000001")

func taken(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusAccepted)
	json.NewEncoder(w).Encode(Receipt{OrderID: order})
}

func TestWhatPassesIsTriedAgainWithTheSameKey(t *testing.T) {
	e, client := serve(t, time.Minute,
		problem(http.StatusServiceUnavailable, "overloaded", "0"),
		cut,
		problem(http.StatusTooManyRequests, "slow_down", ""),
		taken)
	receipt, err := client.Place(t.Context(), "k", NewOrder{})
	if err != nil || receipt.OrderID != order {
		t.Fatalf("receipt %v, error %v", receipt, err)
	}
	if len(e.keys) != 4 || slices.ContainsFunc(e.keys, func(k string) bool { return k != "k" }) {
		t.Errorf("keys of the attempts: %v", e.keys)
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	_, client := serve(t, time.Minute, problem(http.StatusServiceUnavailable, "overloaded", "1"), taken)
	began := time.Now()
	if _, err := client.Place(t.Context(), "k", NewOrder{}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("tried again after %s, asked to wait 1 s", took)
	}
}

func TestRefusalsAreFinal(t *testing.T) {
	for _, status := range []int{400, 404, 409, 422, 500} {
		e, client := serve(t, time.Minute, problem(status, "no", ""))
		_, err := client.Place(t.Context(), "k", NewOrder{})
		p, ok := errors.AsType[*Problem](err)
		if !ok || p.Status != status || p.Code != "no" || p.Field != "lines" {
			t.Errorf("%d: the error is %v", status, err)
		}
		if len(e.keys) != 1 {
			t.Errorf("%d: tried %d times", status, len(e.keys))
		}
	}
}

func TestPatienceEnds(t *testing.T) {
	_, client := serve(t, 0, problem(http.StatusServiceUnavailable, "overloaded", "1"))
	if _, err := client.Place(t.Context(), "k", NewOrder{}); !IsProblem(err, "overloaded") {
		t.Errorf("the error is %v", err)
	}
}

func TestNobodyThere(t *testing.T) {
	client := New(URLs{OrderAdmin: Access{URL: "http://127.0.0.1:1"}}, 0)
	if _, err := client.Order(t.Context(), order); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the error is %v", err)
	}
}

func TestAnswersThatAreNotOurs(t *testing.T) {
	_, client := serve(t, 0,
		func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) },
		func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) })
	if _, err := client.Order(t.Context(), order); err == nil {
		t.Error("HTML was taken for an order")
	}
	_, err := client.Order(t.Context(), order)
	if p, ok := errors.AsType[*Problem](err); !ok || p.Status != http.StatusBadGateway || p.Detail == "" {
		t.Errorf("the error is %v", err)
	}
}

func TestOrdersFollowsPages(t *testing.T) {
	page := func(cursor, next string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if got := r.URL.Query().Get("cursor"); got != cursor {
				t.Errorf("cursor %q, want %q", got, cursor)
			}
			json.NewEncoder(w).Encode(map[string]any{"orders": []Order{{ID: order}}, "next_cursor": next})
		}
	}
	_, client := serve(t, 0, page("", "a"), page("a", "b"), page("b", ""))
	orders, err := client.Orders(t.Context(), "c1", 1000)
	if err != nil || len(orders) != 3 {
		t.Errorf("%d orders, error %v", len(orders), err)
	}
}
