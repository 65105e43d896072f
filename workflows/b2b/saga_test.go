package b2b

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/api"
	"github.com/dapr/durabletask-go/workflow"
	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quadrille.internal/events"
	"quadrille.internal/events/b2b"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/workflows/b2b/wire"
)

// world is everything a saga runs in: the real activities on PostgreSQL, the real
// inventory service and ERP stand-in, and the engine of one process.
type world struct {
	*office
	engine    *engine
	erp       *erpServer
	inventory *inventoryServer
	relay     *relay
	routes    http.Handler
	stop      func() // stops the worker
}

func newWorld(t *testing.T) *world {
	t.Helper()
	o := newOffice(t)
	w := &world{office: o, engine: startEngine(t, o.Pool), erp: startERP(t), inventory: startInventory(t)}
	w.worker.erp, w.worker.inventory = w.erp.port(), newInventory(w.inventory.conn)
	w.relay = newRelay(w.Pool, w.engine.client, w.Log, 3)
	r := chi.NewRouter()
	s := &server{pool: w.Pool, outbox: w.Outbox, relay: w.relay, api: w.API, started: w.Metrics.SagasStarted()}
	w.worker.took = w.Metrics.SagaSeconds(string(Completed), string(Rejected), string(Failed))
	s.routes(r)
	s.operatorRoutes(r)
	w.routes = r
	w.stop = w.engine.work(t, w.worker)
	servicetest.Run(t, w.relay.run)
	return w
}

// branch is the world as one test of it sees it, with a company and a SKU of its
// own.
type branch struct {
	*world
	*testing.T
	company, sku string
	id           uuid.UUID
}

// in begins a branch. prefix chooses how the ERP treats the company.
func (w *world) in(t *testing.T, prefix string, p Policy) *branch {
	t.Helper()
	inner := *w
	inner.office = &office{T: t, Kit: w.Kit, worker: w.worker}
	inner.erp = &erpServer{T: t, url: w.erp.url}
	inner.inventory = &inventoryServer{T: t, url: w.inventory.url, admin: w.inventory.admin, conn: w.inventory.conn}
	name := prefix + strings.ToLower(short())
	b := &branch{world: &inner, T: t, company: name, sku: "sku-" + name}
	b.office.company(name, 100_000, p)
	b.inventory.stock(b.sku, map[string]int64{"york": 6, "leeds": 10})
	t.Cleanup(func() {
		b.inventory.conn.before, b.inventory.conn.after = nil, nil
		(&erpServer{T: t, url: w.erp.url}).mode("ok", 0)
	})
	return b
}

func short() string { return uuid.NewString()[:8] }

// quick is board with deadlines that a test can wait for.
func quick(remind, escalate, expire time.Duration) Policy {
	p := board()
	p.RemindAfter, p.EscalateAfter, p.ExpireAfter = Duration(remind), Duration(escalate), Duration(expire)
	return p
}

// ask sends a request to the API, demands a status and decodes the answer.
func (b *branch) ask(method, path, body string, status int, answer any) {
	b.T.Helper()
	req := httptest.NewRequestWithContext(b.T.Context(), method, path, bytes.NewBufferString(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", uuid.NewString())
	got := httptest.NewRecorder()
	b.routes.ServeHTTP(got, req)
	if got.Code != status {
		b.T.Fatalf("%s %s: %d %s, want %d", method, path, got.Code, got.Body, status)
	}
	if answer == nil {
		return
	}
	if err := json.Unmarshal(got.Body.Bytes(), answer); err != nil {
		b.T.Fatal(err)
	}
}

// submit orders units at a price each.
func (b *branch) submit(units, price int64, more string) {
	b.T.Helper()
	var receipt struct{ ID uuid.UUID }
	b.ask(http.MethodPost, "/v1/b2b/orders", fmt.Sprintf(
		`{"company_id":%q,"ordered_by":"carl","lines":[{"sku":%q,"quantity":%d,"unit_price":%d}]%s}`,
		b.company, b.sku, units, price, more), http.StatusAccepted, &receipt)
	b.id = receipt.ID
}

func (b *branch) path(more string) string { return "/v1/b2b/orders/" + b.id.String() + more }

func (b *branch) vote(v Vote, status int) {
	b.T.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		b.T.Fatal(err)
	}
	b.ask(http.MethodPost, b.path("/approval"), string(body), status, nil)
}

func (b *branch) cancel() {
	b.T.Helper()
	b.ask(http.MethodPost, b.path("/cancel"), "", http.StatusOK, nil)
}

// await waits until the order has a status.
func (b *branch) await(want Status) *Order {
	b.T.Helper()
	var o *Order
	eventually(b.T, "order "+string(want), func() (err error) {
		o, err = loadOrder(b.T.Context(), b.Pool, b.id)
		if err == nil && o.Status != want {
			err = fmt.Errorf("is %s, %+v", o.Status, o.Reason)
		}
		return err
	})
	return o
}

// ends waits for the end of the order and checks every book.
func (b *branch) ends(want Status, reason string) *Order {
	b.T.Helper()
	o := b.await(want)
	if o.EndedAt == nil || (o.Reason == nil) != (reason == "") || o.Reason != nil && o.Reason.Code != reason {
		b.T.Errorf("ended %v with %+v, want %s", o.EndedAt, o.Reason, reason)
	}
	meta, err := b.engine.client.WaitForWorkflowCompletion(b.T.Context(), b.id.String())
	if err != nil || meta.RuntimeStatus != api.RUNTIME_STATUS_COMPLETED {
		b.T.Errorf("the workflow ended %+v, %v", meta, err)
	}
	open, exposure, credit := 0, int64(0), o.Credit == CreditReleased || o.Credit == CreditNone
	if want == Completed {
		open, exposure, credit = 1, o.Amount, o.Credit == CreditUsed
	} else if held := b.inventory.held(b.sku); held != 0 {
		b.T.Errorf("%d units are still held", held)
	}
	erp := b.erp.orders(b.id)
	if len(erp) > 1 || slices.Contains(erp, "open") != (open == 1) {
		b.T.Errorf("the ERP has orders %v, want %d open", erp, open)
	}
	held := b.number(`select held from companies where id = $1`, b.company)
	if used := b.number(`select exposure from companies where id = $1`, b.company); held != 0 || used != exposure || !credit {
		b.T.Errorf("credit is %q: %d held, %d used, want 0 and %d", o.Credit, held, used, exposure)
	}
	if n := b.number(`select count(*) from gates where id = $1 and (state = 'open' or observed_at is null)`, b.id); n > 0 {
		b.T.Error("the gate is open, or its decision unheard")
	}
	b.endedOnce(want)
	return o
}

// endedOnce checks that the end was announced once.
func (b *branch) endedOnce(want Status) {
	b.T.Helper()
	last := map[Status]string{Completed: b2b.TypeOrderCompleted, Rejected: b2b.TypeOrderRejected}[want]
	if last == "" {
		last = b2b.TypeOrderFailed
	}
	var ends []string
	for _, e := range b.emitted(b.id) {
		switch e {
		case b2b.TypeOrderCompleted, b2b.TypeOrderRejected, b2b.TypeOrderFailed:
			ends = append(ends, e)
		}
	}
	if !slices.Equal(ends, []string{last}) {
		b.T.Errorf("announced %v, want %s", ends, last)
	}
}

func TestSaga(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name   string
		prefix string // of the company: how the ERP treats it
		policy Policy
		run    func(b *branch)
	}{
		{"no approval needed", "", board(), func(b *branch) {
			b.submit(2, 400, "")
			o := b.ends(Completed, "")
			b.expectEmitted(b.id, b2b.TypeOrderSubmitted, b2b.TypeOrderAllocated, b2b.TypeOrderCompleted)
			if len(o.Allocations) != 1 || o.Allocations[0].Warehouse != "york" {
				b.T.Errorf("allocated %+v, want all from the nearest", o.Allocations)
			}
		}},
		{"approved", "", board(), func(b *branch) {
			b.submit(2, 1_000, "")
			b.await(AwaitingApproval)
			b.vote(yes("bob"), http.StatusOK)
			b.ends(Completed, "")
			b.vote(no("alice", "late"), http.StatusConflict)
		}},
		{"approved by two", "", board(), func(b *branch) {
			b.submit(2, 6_000, "")
			b.await(AwaitingApproval)
			b.vote(yes("alice"), http.StatusOK)
			b.vote(yes("bob"), http.StatusForbidden)
			b.vote(yes("zoe"), http.StatusOK)
			b.ends(Completed, "")
		}},
		{"approved through Dapr", "", board(), func(b *branch) {
			b.submit(2, 1_000, "")
			b.await(AwaitingApproval)
			for _, v := range []Vote{yes("carl"), yes("bob")} {
				if err := b.engine.client.RaiseEvent(b.T.Context(), b.id.String(), eventApproval, workflow.WithEventPayload(v)); err != nil {
					b.T.Fatal(err)
				}
			}
			b.ends(Completed, "")
			if d := b.decisions(b.id); len(d) != 1 || d[0].Approver != "bob" || d[0].Source != "dapr" {
				b.T.Errorf("recorded %+v", d)
			}
		}},
		{"rejected", "", board(), func(b *branch) {
			b.submit(2, 1_000, "")
			b.await(AwaitingApproval)
			b.vote(Vote{Approver: "bob", Decision: Reject}, http.StatusBadRequest)
			b.vote(no("bob", "no budget"), http.StatusOK)
			b.ends(Rejected, reasonRejected)
		}},
		{"reminded, escalated, approved by the next level", "", quick(50*time.Millisecond, 150*time.Millisecond, time.Minute), func(b *branch) {
			b.submit(2, 1_000, "")
			eventually(b.T, "escalation", func() error {
				if !slices.Contains(b.emitted(b.id), b2b.TypeApprovalEscalated) {
					return errors.New("not yet")
				}
				return nil
			})
			b.vote(yes("zoe"), http.StatusOK)
			b.ends(Completed, "")
		}},
		{"expired", "", quick(50*time.Millisecond, 100*time.Millisecond, 200*time.Millisecond), func(b *branch) {
			b.submit(2, 1_000, "")
			b.ends(Rejected, reasonExpired)
			b.vote(yes("bob"), http.StatusConflict)
		}},
		{"cancelled while waiting", "", board(), func(b *branch) {
			b.submit(2, 1_000, "")
			b.await(AwaitingApproval)
			b.cancel()
			b.ends(Cancelled, events.ReasonCustomerRequest)
			b.vote(yes("bob"), http.StatusConflict)
		}},
		{"cancelled after approval, while the ERP is slow", "erp-slow-", board(), func(b *branch) {
			b.submit(2, 1_000, "")
			b.await(AwaitingApproval)
			b.vote(yes("bob"), http.StatusOK)
			b.await(Allocated)
			b.cancel()
			b.ends(Cancelled, events.ReasonCustomerRequest)
		}},
		{"credit exceeded", "", board(), func(b *branch) {
			b.submit(2, 60_000, "")
			b.ends(Rejected, reasonCredit)
		}},
		{"no approver", "", Policy{Rules: []Rule{{Need: 1}}, Approvers: []Approver{{ID: "carl", Limit: 1 << 40, Level: 1}}}, func(b *branch) {
			b.submit(2, 1_000, "")
			b.ends(Rejected, reasonNoApprover)
		}},
		{"over several warehouses", "", board(), func(b *branch) {
			b.submit(12, 50, "")
			if o := b.ends(Completed, ""); len(o.Allocations) != 2 {
				b.T.Errorf("allocated %+v", o.Allocations)
			}
		}},
		{"short of stock", "", board(), func(b *branch) {
			b.submit(17, 50, "")
			b.ends(Rejected, events.ReasonOutOfStock)
		}},
		{"back-order", "", board(), func(b *branch) {
			b.submit(17, 50, `,"allow_backorder":true`)
			o := b.ends(Completed, "")
			if len(o.Shortages) != 1 || o.Shortages[0].Available != 16 {
				b.T.Errorf("back-orders %+v", o.Shortages)
			}
		}},
		{"ERP rejects", "erp-reject-", board(), func(b *branch) { b.submit(2, 400, ""); b.ends(Failed, reasonERP) }},
		{"ERP loses the reply", "erp-lose-reply-", board(), func(b *branch) { b.submit(2, 400, ""); b.ends(Completed, "") }},
		{"ERP fails after doing the work", "erp-fail-after-", board(), func(b *branch) { b.submit(2, 400, ""); b.ends(Completed, "") }},
		{"ERP is slow", "erp-slow-", board(), func(b *branch) {
			b.submit(2, 400, "")
			o := b.ends(Completed, "")
			if s := o.step(stepERP, o.MovedAt); s.EndedAt.Sub(s.StartedAt) < erpSlow {
				b.T.Errorf("the ERP took from %s to %s, want %s", s.StartedAt, s.EndedAt, erpSlow)
			}
		}},
		{"ERP is flaky", "", board(), func(b *branch) {
			b.erp.mode("flaky", 2)
			b.submit(2, 400, "")
			if o := b.ends(Completed, ""); o.step(stepERP, o.MovedAt).Attempts != 3 {
				b.T.Errorf("steps are %+v", o.step(stepERP, o.MovedAt))
			}
		}},
		{"ERP is down until the step is given up", "", board(), func(b *branch) {
			b.erp.mode("down", 3)
			b.submit(2, 400, "")
			b.ends(Failed, reasonStep)
		}},
		{"ERP loses every reply, and the step is given up", "", board(), func(b *branch) {
			b.erp.mode("lose_reply", 3)
			b.submit(2, 400, "")
			b.ends(Failed, reasonStep)
			if got := b.erp.orders(b.id); !slices.Equal(got, []string{"cancelled"}) {
				b.T.Errorf("the ERP has orders %v, want the one we never heard of, cancelled", got)
			}
		}},
		{"inventory's answers are lost until the step is given up", "", board(), func(b *branch) {
			b.inventory.conn.after = failing("Allocate", 4) // at once, and then as often as the step may be tried
			b.submit(2, 400, "")
			b.ends(Failed, reasonStep)
		}},
		{"a step panics, and is repeated", "", board(), func(b *branch) {
			b.inventory.conn.before = panicking("Allocate", 2)
			b.submit(2, 400, "")
			o := b.ends(Completed, "")
			if !slices.ContainsFunc(o.Steps, func(s *Step) bool { return s.Attempts == 3 && strings.Contains(s.Cause, "index out of luck") }) {
				b.T.Errorf("of %d steps none has 3 attempts, and what went wrong", len(o.Steps))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(w.in(t, c.prefix, c.policy)) })
	}
	w.checkCounted()
}

// checkCounted checks that each order was counted as it began, and timed once as it ended.
func (w *world) checkCounted() {
	w.Helper()
	lines := []string{fmt.Sprintf(`quadrille_sagas_started_total{service="b2b"} %d`, w.number(`select count(*) from orders`))}
	for _, s := range []Status{Completed, Rejected, Failed} {
		n := w.number(`select count(*) from orders where status = $1 and ended_at is not null`, s)
		lines = append(lines, fmt.Sprintf(`quadrille_saga_seconds_count{outcome=%q,service="b2b"} %d`, s, n))
	}
	servicetest.CheckMetrics(w.T, w.Metrics, lines...)
}

// failing fails the first calls of a method.
func failing(method string, times int64) func(string) error {
	var calls atomic.Int64
	return func(called string) error {
		if strings.HasSuffix(called, method) && calls.Add(1) <= times {
			return status.Error(codes.Unavailable, "the network is down")
		}
		return nil
	}
}

// Each compensation fails once, and more often than it is tried: then the order
// shows that it is stuck, and goes on when it is resumed.
func TestCompensation(t *testing.T) {
	w := newWorld(t)
	w.sabotage()
	for step, spoil := range map[string]func(b *branch, times int){
		stepERP:      func(b *branch, times int) { b.erp.mode("flaky", times) },
		stepAllocate: func(b *branch, times int) { b.inventory.conn.before = failing("Release", int64(times)) },
		stepCredit: func(b *branch, times int) {
			b.exec(`insert into sabotage select $1, last_value + $2 from sabotaged`, b.company, times)
		},
	} {
		for _, times := range []int{1, 2, 4} {
			t.Run(fmt.Sprintf("%s fails %d times", undo(step), times), func(t *testing.T) {
				b := w.in(t, "erp-slow-", board())
				b.submit(2, 400, "")
				b.await(Allocated) // the ERP is at it
				b.cancel()
				spoil(b, times)
				if times > 3 {
					b.stuckIn(undo(step))
				}
				b.ends(Cancelled, events.ReasonCustomerRequest)
			})
		}
	}
}

// sabotage makes giving credit back fail for companies named, until a count that
// outlives roll-backs is reached.
func (w *world) sabotage() {
	w.exec(`
		create sequence sabotaged;
		create table sabotage (company text, until bigint);
		create function sabotage() returns trigger language plpgsql security definer set search_path = public as $$
		begin
			if new.held < old.held and nextval('sabotaged') <= (select until from sabotage where company = new.id) then
				raise exception 'sabotaged';
			end if;
			return new;
		end $$;
		create trigger sabotage before update on companies for each row execute function sabotage();
		select nextval('sabotaged')`)
}

// stuckIn waits until a compensation is given up, looks at what an operator sees,
// and resumes it.
func (b *branch) stuckIn(step string) {
	b.T.Helper()
	b.await(CompensationFailed)
	var v wire.Order
	b.ask(http.MethodGet, b.path(""), "", http.StatusOK, &v)
	if v.Reason == nil || v.Reason.Code != string(CompensationFailed) || v.Reason.Message != words[v.Reason.Code] || v.WaitsFor == "" {
		b.T.Errorf("the operator sees %+v and waits for %q", v.Reason, v.WaitsFor)
	}
	var list wire.StuckOrders
	b.ask(http.MethodGet, "/v1/b2b/stuck", "", http.StatusOK, &list)
	if !slices.ContainsFunc(list.Stuck, func(s wire.Stuck) bool { return s.OrderID == b.id && strings.Contains(s.Why, step) }) {
		b.T.Errorf("the watchdog lists %+v", list.Stuck)
	}
	var resumed wire.Order
	b.ask(http.MethodPost, b.path("/resume"), "", http.StatusOK, &resumed)
	if resumed.Reason != nil {
		b.T.Errorf("resumed, the order still shows %+v", resumed.Reason)
	}
	b.ask(http.MethodPost, b.path("/resume"), "", http.StatusConflict, nil)
}
