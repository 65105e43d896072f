package b2b

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"quadrille.internal/events"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/workflows/b2b/decisionlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// office is the service's own part on a database of its own, without a sidecar: no
// other service can be reached.
type office struct {
	*testing.T
	*service.Kit
	worker *worker
}

func newOffice(t *testing.T) *office {
	t.Helper()
	kit := servicetest.NewKit(t, Service())
	alone := &faulty{before: failing("", math.MaxInt64)}
	return &office{T: t, Kit: kit, worker: &worker{pool: kit.Pool, outbox: kit.Outbox, log: kit.Log, inventory: newInventory(alone)}}
}

// company adds a company with a credit limit and a policy.
func (o *office) company(id string, limit int64, p Policy) {
	o.Helper()
	_, err := o.Pool.Exec(o.Context(), `
		insert into companies (id, name, currency, credit_limit, warehouses, policy) values ($1, $1, 'GBP', $2, '{york,leeds}', $3)`,
		id, limit, p)
	if err != nil {
		o.Fatal(err)
	}
}

// order places carl's order, of one line.
func (o *office) order(company string, amount int64) Request {
	o.Helper()
	id := uuid.Must(uuid.NewV7())
	now := time.Now().UTC()
	placed := &Order{
		Row: aggregate.Row{ID: id}, IdempotencyKey: id.String(), RequestHash: "hash of " + id.String(),
		CompanyID: company, OrderedBy: "carl", Status: Submitted, Currency: "GBP", Amount: amount, Steps: []*Step{},
		Lines: []events.Line{{SKU: "desk", Quantity: 1, UnitPrice: amount}}, SubmittedAt: now, MovedAt: now,
	}
	err := o.Outbox.InTx(o.Context(), func(_ context.Context, tx *outbox.Tx) error {
		return orders.Save(tx, map[uuid.UUID]*Order{id: placed})
	})
	if err != nil {
		o.Fatal(err)
	}
	return Request{Input: Input{OrderID: id, Attempts: 3}}
}

// gated places an order that waits at its gate.
func (o *office) gated(company string, amount int64) Request {
	o.Helper()
	req := o.order(company, amount)
	view, err := o.worker.lookAtGate(o.Context(), req)
	if err != nil || view.Verdict != nil {
		o.Fatalf("the gate is not open: %+v, %v", view, err)
	}
	return req
}

// cast casts a vote as the API does.
func (o *office) cast(id uuid.UUID, v Vote) (b *ballot, err error) {
	err = o.Outbox.InTx(context.Background(), func(ctx context.Context, tx *outbox.Tx) error {
		b, err = cast(ctx, tx, id, v, "api")
		return err
	})
	return b, err
}

func (o *office) gate(id uuid.UUID) *Gate {
	o.Helper()
	found, err := gates.Load(o.Context(), o.Pool, []uuid.UUID{id})
	if err != nil || found[id] == nil {
		o.Fatalf("no gate of %s: %v", id, err)
	}
	return found[id]
}

func (o *office) load(id uuid.UUID) *Order {
	o.Helper()
	found, err := loadOrder(o.Context(), o.Pool, id)
	if err != nil {
		o.Fatal(err)
	}
	return found
}

func (o *office) decisions(id uuid.UUID) []decisionlog.Decision {
	o.Helper()
	list, err := listDecisions(o.Context(), o.Pool, id)
	if err != nil {
		o.Fatal(err)
	}
	return list
}

// emitted lists the types of an order's events, oldest first.
func (o *office) emitted(id uuid.UUID) []string {
	o.Helper()
	var types []string
	for _, e := range servicetest.Emitted(o.T, o.Pool)[id] {
		types = append(types, e.Type())
	}
	return types
}

func (o *office) expectEmitted(id uuid.UUID, want ...string) {
	o.Helper()
	if got := o.emitted(id); !slices.Equal(got, want) {
		o.Errorf("emitted %v, want %v", got, want)
	}
}

// exec runs a statement that nothing in the service would.
func (o *office) exec(sql string, args ...any) {
	o.Helper()
	if _, err := pgtest.Admin(o.T, o.Pool).Exec(o.Context(), sql, args...); err != nil {
		o.Fatalf("%s: %v", sql, err)
	}
}

// tamper runs a statement as somebody who has the whole server: no trigger fires.
func (o *office) tamper(sql string, args ...any) {
	o.Helper()
	conn := pgtest.Admin(o.T, o.Pool)
	if _, err := conn.Exec(o.Context(), `set session_replication_role = replica`); err != nil {
		o.Fatal(err)
	}
	if _, err := conn.Exec(o.Context(), sql, args...); err != nil {
		o.Fatalf("%s: %v", sql, err)
	}
}

// request answers a request as the service does, on either port.
func (o *office) request(method, path, key, body string) *httptest.ResponseRecorder {
	o.Helper()
	routes := chi.NewRouter()
	s := &server{pool: o.Pool, outbox: o.Outbox, relay: newRelay(o.Pool, nil, o.Log, 3), api: o.API}
	s.routes(routes)
	s.operatorRoutes(routes)
	req := httptest.NewRequestWithContext(o.Context(), method, path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	answer := httptest.NewRecorder()
	routes.ServeHTTP(answer, req)
	return answer
}

// ask is request for an answer that is 200.
func (o *office) ask(path string, answer any) {
	o.Helper()
	got := o.request(http.MethodGet, path, "", "")
	if got.Code != http.StatusOK {
		o.Fatalf("%s: %d %s", path, got.Code, got.Body)
	}
	if err := json.Unmarshal(got.Body.Bytes(), answer); err != nil {
		o.Fatal(err)
	}
}

func (o *office) number(sql string, args ...any) int64 {
	o.Helper()
	rows, err := o.Pool.Query(o.Context(), sql, args...)
	if err != nil {
		o.Fatal(err)
	}
	n, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int64])
	if err != nil {
		o.Fatalf("%s: %v", sql, err)
	}
	return n
}

// code is the code of a fault, or "" of what is none.
func code(err error) string {
	if f, ok := errors.AsType[*fault.Fault](err); ok {
		return f.Code
	}
	return ""
}
