package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type order struct {
	Customer string `json:"customer"`
	Lines    []struct {
		SKU   string `json:"sku"`
		Price struct {
			Amount int64 `json:"amount"`
		} `json:"price"`
	} `json:"lines"`
}

func post(body, contentType string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/v1/orders", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	return r
}

func TestARequestHasADeadline(t *testing.T) {
	api := rest.API{Log: slog.New(slog.DiscardHandler)}
	h := api.Handle(func(_ http.ResponseWriter, r *http.Request) error {
		end, ok := r.Context().Deadline()
		if left := time.Until(end); !ok || left <= 0 || left > 10*time.Second {
			t.Errorf("deadline in %v, want one within 10 s", left)
		}
		return nil
	})
	h(httptest.NewRecorder(), post(`{}`, "application/json"))
}

func TestDecode(t *testing.T) {
	const valid = `{"customer":"c","lines":[{"sku":"a","price":{"amount":255}}]}`
	var got order
	body, err := rest.Decode(httptest.NewRecorder(), post(valid, "application/json; charset=utf-8"), &got)
	if err != nil || string(body) != valid {
		t.Fatalf("Decode = %s, %v", body, err)
	}
	if got.Customer != "c" || got.Lines[0].Price.Amount != 255 {
		t.Errorf("decoded %+v", got)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct {
		name, body, contentType string
		kind                    fault.Kind
		code, field             string
	}{
		{"an unknown field", `{"customer":"c","discount":1}`, "application/json", fault.Invalid, "unknown_field", "discount"},
		{"an unknown field within", `{"lines":[{"sku":"a","colour":"red"}]}`, "application/json", fault.Invalid, "unknown_field", "colour"},
		{"a wrong type", `{"customer":17}`, "application/json", fault.Invalid, "wrong_type", "customer"},
		{"a wrong type within", `{"lines":[{"price":{"amount":"2.55"}}]}`, "application/json", fault.Invalid, "wrong_type", "lines.price.amount"},
		{"a fraction", `{"lines":[{"price":{"amount":2.55}}]}`, "application/json", fault.Invalid, "wrong_type", "lines.price.amount"},
		{"more than fits", `{"lines":[{"price":{"amount":99999999999999999999}}]}`, "application/json", fault.Invalid, "wrong_type", "lines.price.amount"},
		{"an array", `[]`, "application/json", fault.Invalid, "wrong_type", ""},
		{"nothing", ``, "application/json", fault.Invalid, "body_malformed", ""},
		{"half of it", `{"customer":`, "application/json", fault.Invalid, "body_malformed", ""},
		{"a second value", `{} {}`, "application/json", fault.Invalid, "body_malformed", ""},
		{"rubbish after it", `{}]`, "application/json", fault.Invalid, "body_malformed", ""},
		{"no media type", `{}`, "", fault.Unsupported, "media_type", ""},
		{"another media type", `{}`, "text/plain", fault.Unsupported, "media_type", ""},
		{"too much", `{"customer":"` + strings.Repeat("x", rest.MaxBody) + `"}`, "application/json", fault.TooLarge, "body_too_large", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := rest.Decode(httptest.NewRecorder(), post(c.body, c.contentType), new(order))
			if err == nil {
				t.Fatal("no error")
			}
			f := fault.Of(err)
			if f.Kind != c.kind || f.Code != c.code || f.Field != c.field || f.Message == "" {
				t.Errorf("got %+v, want kind %d, code %s, field %q", f, c.kind, c.code, c.field)
			}
		})
	}
}

// problem runs a handler and returns its answer, which must be a problem.
func problem(t *testing.T, h http.Handler, r *http.Request) (rest.Problem, *httptest.ResponseRecorder) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if ct := w.Header().Get("Content-Type"); ct != "application/problem+json" {
		t.Fatalf("Content-Type %q, body %s", ct, w.Body)
	}
	var p rest.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if p.Status != w.Code || p.Type != "urn:quadrille:problem:"+p.Code || p.Title == "" || p.Detail == "" || p.Instance != r.URL.Path {
		t.Errorf("status %d with problem %+v", w.Code, p)
	}
	return p, w
}

func TestFaultsBecomeProblems(t *testing.T) {
	api := rest.API{Log: slog.New(slog.DiscardHandler)}
	conflict := fault.New(fault.Conflict, "order_shipped", "The order has %s.", "shipped")
	conflict.Cause = errors.New("secret cause")
	for _, c := range []struct {
		err    error
		status int
		code   string
		field  string
	}{
		{fault.Field("lines[2].quantity", "out_of_range", "At least 1."), 400, "out_of_range", "lines[2].quantity"},
		{fault.New(fault.Unauthorized, "token", "x"), 401, "token", ""},
		{fault.New(fault.NotFound, "no_such_order", "x"), 404, "no_such_order", ""},
		{fault.New(fault.NotAllowed, "method", "x"), 405, "method", ""},
		{fmt.Errorf("cancel order: %w", conflict), 409, "order_shipped", ""},
		{fault.New(fault.TooLarge, "large", "x"), 413, "large", ""},
		{fault.New(fault.Unsupported, "type", "x"), 415, "type", ""},
		{fault.New(fault.Unprocessable, "rule", "x"), 422, "rule", ""},
		{fault.New(fault.Unavailable, "later", "x"), 503, "later", ""},
		{fault.New(fault.Kind(99), "new_kind", "x"), 500, "new_kind", ""},
		{errors.New("secret cause"), 500, "internal", ""},
	} {
		t.Run(c.code, func(t *testing.T) {
			p, w := problem(t, api.Handle(func(http.ResponseWriter, *http.Request) error { return c.err }), post("", ""))
			if w.Code != c.status || p.Code != c.code || p.Field != c.field {
				t.Errorf("status %d with problem %+v", w.Code, p)
			}
			if (w.Header().Get("Retry-After") != "") != (c.status == 503) {
				t.Errorf("Retry-After %q with status %d", w.Header().Get("Retry-After"), c.status)
			}
			if strings.Contains(w.Body.String(), "secret") {
				t.Errorf("the cause is shown: %s", w.Body)
			}
		})
	}
}

// What a fault says to programs beside its code stands in the problem as members of their own.
func TestMembersStandInTheProblem(t *testing.T) {
	w := httptest.NewRecorder()
	f := fault.New(fault.Conflict, "price_changed", "It costs more now.")
	f.Members = map[string]any{"quoted_total": map[string]any{"amount": 199, "currency": "GBP"}}
	rest.WriteProblem(w, post(`{}`, "application/json"), f)
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	if total, _ := got["quoted_total"].(map[string]any); total["amount"] != 199.0 || got["code"] != "price_changed" || got["status"] != 409.0 {
		t.Errorf("answered %s", w.Body)
	}
}

func TestAPanicShowsNothingInternal(t *testing.T) {
	var log bytes.Buffer
	api := rest.API{Log: slog.New(slog.NewTextHandler(&log, nil))}
	p, w := problem(t, api.Handle(func(http.ResponseWriter, *http.Request) error { panic("secret state") }), post("", ""))
	if w.Code != 500 || p.Code != "internal" || strings.Contains(w.Body.String(), "secret") || strings.Contains(w.Body.String(), ".go") {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "secret state") || !strings.Contains(log.String(), "rest_test.go") {
		t.Errorf("the log does not name the panic and its place: %s", log.String())
	}
}

func TestOnlyOurFaultsAreLogged(t *testing.T) {
	var log bytes.Buffer
	api := rest.API{Log: slog.New(slog.NewTextHandler(&log, nil))}
	problem(t, api.Handle(func(http.ResponseWriter, *http.Request) error { return fault.New(fault.NotFound, "x", "x") }), post("", ""))
	if log.Len() != 0 {
		t.Errorf("logged %s", log.String())
	}
	problem(t, api.Handle(func(http.ResponseWriter, *http.Request) error { return errors.New("secret cause") }), post("", ""))
	if !strings.Contains(log.String(), "secret cause") {
		t.Error("our own fault was not logged")
	}
}

// Trouble that passes should be tried again; the caller learns no more of it.
func TestTransientTroubleIsUnavailable(t *testing.T) {
	state := func(code string) error { return &pgconn.PgError{Severity: "FATAL", Code: code, Message: "secret"} }
	for name, err := range map[string]error{
		"the pool is exhausted":     fmt.Errorf("begin: %w", context.DeadlineExceeded),
		"the server is restarted":   fmt.Errorf("save: %w", state("57P01")),
		"too many connections":      fmt.Errorf("begin: %w", state("53300")),
		"the server is starting":    state("57P03"),
		"the lock was not got":      state("55P03"),
		"the connection is refused": &net.OpError{Op: "dial", Err: errors.New("secret")},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			api := rest.API{Log: slog.New(slog.NewTextHandler(&log, nil))}
			p, w := problem(t, api.Handle(func(http.ResponseWriter, *http.Request) error { return err }), post("", ""))
			if w.Code != 503 || p.Code != "unavailable" || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "secret") {
				t.Errorf("status %d, Retry-After %q: %s", w.Code, w.Header().Get("Retry-After"), w.Body)
			}
			if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "err=") {
				t.Errorf("logged %q", &log)
			}
		})
	}
}

func TestACallerThatWentAwayIsNoError(t *testing.T) {
	var log bytes.Buffer
	api := rest.API{Log: slog.New(slog.NewTextHandler(&log, nil))}
	ctx, leave := context.WithCancel(t.Context())
	_, w := problem(t, api.Handle(func(_ http.ResponseWriter, r *http.Request) error {
		leave()
		return fmt.Errorf("load: %w", r.Context().Err())
	}), post("", "").WithContext(ctx))
	if w.Code == 500 || log.Len() != 0 {
		t.Errorf("status %d, logged %q", w.Code, &log)
	}
}

func TestLimitShedsLoad(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	h := rest.NewLimits(1, 1).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		entered <- struct{}{}
		<-release
		w.WriteHeader(http.StatusNoContent)
	}))
	first := httptest.NewRecorder()
	done := make(chan struct{})
	go func() { defer close(done); h.ServeHTTP(first, post("", "")) }()
	<-entered
	if p, w := problem(t, h, post("", "")); w.Code != 503 || p.Code != "overloaded" || w.Header().Get("Retry-After") == "" {
		t.Errorf("status %d, %+v, Retry-After %q", w.Code, p, w.Header().Get("Retry-After"))
	}
	close(release)
	<-done
	if first.Code != http.StatusNoContent {
		t.Errorf("the first request ended with %d", first.Code)
	}
	go func() { <-entered }()
	again := httptest.NewRecorder()
	if h.ServeHTTP(again, post("", "")); again.Code != http.StatusNoContent {
		t.Errorf("the place was not given back: status %d", again.Code)
	}
}

func TestUnknownRoutesAndMethods(t *testing.T) {
	r := chi.NewRouter()
	rest.Fallbacks(r)
	r.Get("/v1/orders", func(http.ResponseWriter, *http.Request) {})
	if p, w := problem(t, r, httptest.NewRequest(http.MethodGet, "/v2/orders", nil)); w.Code != 404 || p.Code != "no_such_route" {
		t.Errorf("status %d, %+v", w.Code, p)
	}
	p, w := problem(t, r, post("", ""))
	if w.Code != 405 || p.Code != "method_not_allowed" {
		t.Errorf("status %d, %+v", w.Code, p)
	}
}

func TestWrite(t *testing.T) {
	w := httptest.NewRecorder()
	if err := rest.Write(w, http.StatusAccepted, map[string]int{"n": 1}); err != nil {
		t.Fatal(err)
	}
	if w.Code != 202 || w.Body.String() != "{\"n\":1}\n" || w.Header().Get("Content-Type") != "application/json" ||
		w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("status %d, %v, %s", w.Code, w.Header(), w.Body)
	}
}
