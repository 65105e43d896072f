package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"quadrille.internal/platform/audit"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/quad/books"
	"quadrille.internal/quad/provider"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a set of books that agree: a confirmed order, a declined one, one short
// of stock, one refunded, one under way.
type world struct {
	t         *testing.T
	checkout  *pgxpool.Pool
	inventory *pgxpool.Pool
	payment   *pgxpool.Pool
	order     *pgxpool.Pool
	provider  *shop
	queued    map[*pgxpool.Pool]*pgx.Batch
	root      testing.TB // which ends last
	auditors  map[*pgxpool.Pool]*pgxpool.Pool
}

var (
	confirmed = uuid.MustParse("00000000-0000-7000-8000-000000000001")
	declined  = uuid.MustParse("00000000-0000-7000-8000-000000000002")
	short     = uuid.MustParse("00000000-0000-7000-8000-000000000003")
	refunded  = uuid.MustParse("00000000-0000-7000-8000-000000000004")
	underWay  = uuid.MustParse("00000000-0000-7000-8000-000000000005")
	stranger  = uuid.MustParse("00000000-0000-7000-8000-000000000006")
)

func newWorld(t *testing.T) *world {
	open := func(service string) *pgxpool.Pool { return pgtest.Open(t, os.DirFS("../../services/"+service)) }
	return &world{
		t: t, checkout: open("checkout"), inventory: open("inventory"), payment: open("payment"), order: open("order"),
		provider: newShop(t), queued: make(map[*pgxpool.Pool]*pgx.Batch),
		root: t, auditors: make(map[*pgxpool.Pool]*pgxpool.Pool),
	}
}

// exec queues a statement until flush: a commit for each would take most of the time.
func (w *world) exec(pool *pgxpool.Pool, sql string, args ...any) {
	if w.queued[pool] == nil {
		w.queued[pool] = &pgx.Batch{}
	}
	w.queued[pool].Queue(sql, args...)
}

func (w *world) flush() {
	w.t.Helper()
	for pool, batch := range w.queued {
		if err := pool.SendBatch(w.t.Context(), batch).Close(); err != nil {
			w.t.Fatal(err)
		}
	}
	clear(w.queued)
}

func (w *world) reset() {
	clear(w.queued)
	for pool, tables := range map[*pgxpool.Pool][]string{
		w.checkout: {"checkouts"}, w.order: {"orders"}, w.payment: {"payments"},
		w.inventory: {"stock", "stock_movements", "reservations"},
	} {
		for _, table := range append(tables, "outbox", "parked") {
			w.exec(pool, `delete from `+table)
		}
	}
	w.provider.reset()

	w.exec(w.inventory, `insert into stock_movements (sku, warehouse, delta) values ('A', 'leeds', 10), ('A', 'leeds', -2), ('B', 'leeds', 5)`)
	w.exec(w.inventory, `insert into stock (sku, warehouse, on_hand, held) values ('A', 'leeds', 5, 1), ('B', 'leeds', 5, 0)`)
	w.add(confirmed, "confirmed", "shipped", 3, "completed")
	w.add(declined, "cancelled", "released", 2, "failed")
	w.add(short, "cancelled", "refused", 0, "")
	w.add(refunded, "cancelled", "released", 1, "refunded")
	w.add(underWay, "pending", "held", 1, "charging")
	w.provider.charge("ch_1", confirmed, 300)
	w.provider.charge("ch_4", refunded, 100)
	w.provider.refund("re_4", "ch_4", 100)
}

// add writes an order of some units of A, a pound each, into all books.
func (w *world) add(id uuid.UUID, status, stock string, units int64, payment string) {
	w.t.Helper()
	amount := max(units, 1) * 100
	reason := `{"code": "x", "message": "X."}`
	placed := status
	if status == "pending" {
		placed = "placed"
	}
	lines := fmt.Sprintf(`[{"sku": "A", "quantity": %d, "unit_price": 100}]`, max(units, 1))
	w.exec(w.checkout, `insert into checkouts values ($1::uuid, $1::text, '', 'c1', $2, $3, 'GBP', '', $4, $5, now(), now(), 1)`,
		id, lines, amount, placed, reason)
	w.exec(w.order, `insert into orders (id, status, reason, lines, amount, currency, traceparent, placed_at, reserved_at, paid_at, settled_at, version)
		values ($1, $2, $3, $4, $5, 'GBP', '', now(), now(), now(), case when $2 <> 'pending' then now() end, 1)`,
		id, status, reason, lines, amount)
	allocations := "null"
	if units > 0 {
		allocations = fmt.Sprintf(`[{"sku": "A", "warehouse": "leeds", "quantity": %d}]`, units)
	}
	w.exec(w.inventory, `insert into reservations (id, status, verdict, allocations, traceparent, version)
		values ($1, $2, '', $3, '', 1)`, id, stock, allocations)
	if payment == "" {
		return
	}
	charge := ""
	if payment == "completed" || payment == "refunded" {
		charge = "ch_" + id.String()[35:]
	}
	w.exec(w.payment, `insert into payments (id, status, amount, currency, token, traceparent, cancelled, charge_id, refund_id, attempts, last_error, due_at, version)
		values ($1, $2, $3, 'GBP', 'tok', '', false, $4, '', 0, '', case when $2 = 'charging' then now() end, 1)`,
		id, payment, amount, charge)
}

func (w *world) sources() Sources {
	client := provider.New(w.provider.server.URL, "key")
	w.t.Cleanup(client.Close)
	return Sources{
		Databases: map[string]*pgxpool.Pool{
			"checkout": w.auditor(w.checkout), "inventory": w.auditor(w.inventory),
			"payment": w.auditor(w.payment), "order": w.auditor(w.order),
		},
		Provider: client, ClearWithin: time.Nanosecond,
	}
}

// auditor reads a database as quad verify does.
func (w *world) auditor(db *pgxpool.Pool) *pgxpool.Pool {
	if w.auditors[db] == nil {
		w.auditors[db] = pgtest.Auditor(w.root, db)
	}
	return w.auditors[db]
}

func (w *world) verify(src Sources) Report {
	w.t.Helper()
	w.flush()
	report, err := Run(w.t.Context(), src)
	if err != nil {
		w.t.Fatal(err)
	}
	return report
}

// broken lists the names of the checks that failed, with their offenders.
func broken(r Report) map[string][]string {
	found := make(map[string][]string)
	for _, c := range r.Checks {
		for _, o := range c.Offenders {
			found[c.Name] = append(found[c.Name], o.ID)
		}
	}
	return found
}

// TestRun shares one set of databases between all tests.
func TestRun(t *testing.T) {
	w := newWorld(t)
	for name, test := range map[string]func(*testing.T, *world){
		"books that agree":     testBooksThatAgree,
		"quiet":                testQuiet,
		"every fault is found": testEveryFaultIsFound,
		"an order that says what it waits for is no fault": testAnOrderThatSaysWhatItWaitsForIsNoFault,
		"what clears up is no fault":                       testWhatClearsUpIsNoFault,
		"many orders":                                      testManyOrders,
		"a provider that does not answer":                  testAProviderThatDoesNotAnswer,
		"cancelled context":                                testCancelledContext,
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.reset()
			test(t, w)
		})
	}
}

func testBooksThatAgree(t *testing.T, w *world) {
	src := w.sources()
	src.Settle = time.Nanosecond
	report := w.verify(src)
	if !report.OK() {
		t.Errorf("good books were found at fault:\n%s", report.String())
	}
	if report.Quiet {
		t.Error("an order under way was taken for quiet")
	}
	counts := map[string]int{
		"stock on hand = moved - shipped": 2, "every checkout has its order": 5, "stock follows the order": 5,
		"no charge without an order": 2, "payment and provider agree": 4, "no event is parked": 4,
	}
	for _, c := range report.Checks {
		if want, ok := counts[c.Name]; ok && c.Checked != want {
			t.Errorf("%s: checked %d, want %d", c.Name, c.Checked, want)
		}
	}
}

func testQuiet(t *testing.T, w *world) {
	w.exec(w.order, `delete from orders where id = $1`, underWay)
	w.exec(w.checkout, `delete from checkouts where id = $1`, underWay)
	w.exec(w.payment, `delete from payments where id = $1`, underWay)
	w.exec(w.inventory, `delete from reservations where id = $1`, underWay)
	w.exec(w.inventory, `update stock set held = 0`)
	src := w.sources()
	src.Settle = time.Minute
	if report := w.verify(src); !report.Quiet || !report.OK() {
		t.Errorf("settled books are not quiet, or at fault:\n%s", report.String())
	}
}

// Every fault, made by hand, and the check that has to find it.
func testEveryFaultIsFound(t *testing.T, w *world) {
	for _, c := range []struct {
		name  string
		spoil func()
		check string
		id    string
	}{
		{"goods vanish", func() { w.exec(w.inventory, `update stock set on_hand = 4 where sku = 'A'`) },
			"stock on hand = moved - shipped", "A in leeds"},
		{"a movement without stock", func() {
			w.exec(w.inventory, `insert into stock_movements (sku, warehouse, delta) values ('C', 'leeds', 1)`)
		}, "stock on hand = moved - shipped", "C in leeds"},
		{"stock stays held", func() { w.exec(w.inventory, `update stock set held = 2 where sku = 'A'`) },
			"stock held = held by orders", "A in leeds"},
		{"an order is not heard of", func() { w.exec(w.order, `delete from orders where id = $1`, short) },
			"every checkout has its order", short.String()},
		{"an order knows its payment only", func() { w.exec(w.order, `update orders set placed_at = null where id = $1`, declined) },
			"every checkout has its order", declined.String()},
		{"the customer is told another end", func() { w.exec(w.checkout, `update checkouts set status = 'cancelled' where id = $1`, confirmed) },
			"checkout and order agree", confirmed.String()},
		{"the customer is never told", func() { w.exec(w.checkout, `update checkouts set status = 'placed' where id = $1`, declined) },
			"checkout and order agree", declined.String()},
		{"the customer is told another amount", func() { w.exec(w.checkout, `update checkouts set amount = 1 where id = $1`, declined) },
			"checkout and order agree", declined.String()},
		{"stock for nobody", func() {
			w.exec(w.inventory, `insert into reservations (id, status, verdict, traceparent, version) values ($1, 'refused', '', '', 1)`, stranger)
		}, "every reservation has its order", stranger.String()},
		{"a confirmed order is not shipped", func() {
			w.exec(w.inventory, `update reservations set status = 'released' where id = $1`, confirmed)
		}, "stock follows the order", confirmed.String()},
		{"a cancelled order is shipped", func() {
			w.exec(w.inventory, `update reservations set status = 'shipped' where id = $1`, declined)
		}, "stock follows the order", declined.String()},
		{"a pending order is shipped", func() {
			w.exec(w.inventory, `update reservations set status = 'shipped' where id = $1`, underWay)
		}, "stock follows the order", underWay.String()},
		{"a settled order has no reservation", func() { w.exec(w.inventory, `delete from reservations where id = $1`, short) },
			"stock follows the order", short.String()},
		{"too little is shipped", func() {
			w.exec(w.inventory, `update reservations set allocations = '[{"sku": "A", "warehouse": "leeds", "quantity": 2}]' where id = $1`, confirmed)
		}, "stock follows the order", confirmed.String()},
		{"charged twice", func() { w.provider.charge("ch_9", confirmed, 300) },
			"one charge if confirmed, none kept if not", confirmed.String()},
		{"never charged", func() { w.provider.forget("ch_1") },
			"one charge if confirmed, none kept if not", confirmed.String()},
		{"charged too much", func() { w.provider.forget("ch_1"); w.provider.charge("ch_1", confirmed, 301) },
			"one charge if confirmed, none kept if not", confirmed.String()},
		{"charged in another currency", func() { w.provider.charges[0].Currency = "EUR" },
			"one charge if confirmed, none kept if not", confirmed.String()},
		{"a confirmed order is refunded", func() { w.provider.refund("re_9", "ch_1", 300) },
			"one charge if confirmed, none kept if not", confirmed.String()},
		{"partly refunded", func() { w.provider.refunds = nil; w.provider.refund("re_4", "ch_4", 99) },
			"one charge if confirmed, none kept if not", refunded.String()},
		{"charged for a cancelled order", func() { w.provider.charge("ch_9", short, 100) },
			"one charge if confirmed, none kept if not", short.String()},
		{"a charge for nobody", func() { w.provider.charge("ch_9", stranger, 100) },
			"no charge without an order", stranger.String()},
		{"a charge that names no order", func() { w.provider.charge("ch_9", uuid.Nil, 100) },
			"no charge without an order", uuid.Nil.String()},
		{"a charge the provider knows nothing of", func() { w.exec(w.payment, `update payments set charge_id = 'ch_x' where id = $1`, confirmed) },
			"payment and provider agree", confirmed.String()},
		{"a refund the provider knows nothing of", func() { w.provider.refunds = nil },
			"payment and provider agree", refunded.String()},
		{"a failed payment was charged", func() { w.provider.charge("ch_9", declined, 200) },
			"payment and provider agree", declined.String()},
		{"a void payment was charged", func() {
			w.exec(w.payment, `update payments set status = 'void' where id = $1`, declined)
			w.provider.charge("ch_9", declined, 200)
			w.provider.refund("re_9", "ch_9", 200)
		}, "payment and provider agree", declined.String()},
		{"a refused payment was charged", func() {
			w.exec(w.payment, `update payments set status = 'refused', due_at = null where id = $1`, underWay)
			w.provider.charge("ch_9", underWay, 100)
		}, "payment and provider agree", underWay.String()},
		{"a refund is refused", func() {
			w.exec(w.payment, `update payments set status = 'refused', last_error = 'status 400' where id = $1`, refunded)
			w.provider.refunds = nil
		}, "one charge if confirmed, none kept if not", refunded.String()},
		{"payment never heard of an order", func() {
			w.exec(w.order, `update orders set placed_at = now() - interval '2 minutes' where id = $1`, underWay)
			w.exec(w.payment, `delete from payments where id = $1`, underWay)
		}, "no order is forgotten", underWay.String()},
		{"an attempt is overdue", func() {
			w.exec(w.order, `update orders set placed_at = now() - interval '2 minutes' where id = $1`, underWay)
			w.exec(w.payment, `update payments set due_at = now() - interval '2 minutes' where id = $1`, underWay)
		}, "no order is forgotten", underWay.String()},
		{"an expiry is not acted on", func() {
			w.exec(w.order, `update orders set placed_at = now() - interval '20 minutes' where id = $1`, underWay)
			w.exec(w.inventory, `update reservations set expired_at = now() where id = $1`, underWay)
			w.exec(w.payment, `delete from payments where id = $1`, underWay)
		}, "no order is forgotten", underWay.String()},
		{"an event is not published", func() {
			w.exec(w.payment, `insert into outbox (id, topic, key, payload, leased_until) values ($1, 'payment.completed', 'k', '', now())`, stranger)
		}, "every event is published", "payment " + stranger.String()},
		{"an event is parked", func() {
			w.exec(w.order, `insert into parked (consumer, event_id, topic, cause, attempts, traceparent, payload) values ('order', $1, 't', 'c', 1, '', '')`, stranger)
		}, "no event is parked", "order " + stranger.String()},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.t = t
			w.reset()
			c.spoil()
			report := w.verify(w.sources())
			if found := broken(report); !slices.Contains(found[c.check], c.id) {
				t.Errorf("%q did not name %s; the report is\n%s", c.check, c.id, report.String())
			}
		})
	}
}

func testAnOrderThatSaysWhatItWaitsForIsNoFault(t *testing.T, w *world) {
	w.exec(w.order, `update orders set placed_at = now() - interval '2 minutes' where id = $1`, underWay)
	w.exec(w.payment, `update payments set attempts = 7, last_error = 'status 503' where id = $1`, underWay)
	report := w.verify(w.sources())
	if !report.OK() {
		t.Errorf("the order was found at fault:\n%s", report.String())
	}
	if len(report.Waiting) != 1 || !strings.Contains(report.Waiting[0].Problem, "status 503") {
		t.Errorf("waiting are %v", report.Waiting)
	}
	w.exec(w.payment, `update payments set status = 'refused', due_at = null, last_error = 'status 400' where id = $1`, underWay)
	report = w.verify(w.sources())
	if !report.OK() || len(report.Waiting) != 1 || !strings.Contains(report.Waiting[0].Problem, "operator") {
		t.Errorf("refused by the provider, it was found at fault, or waits for nobody: %v\n%s", report.Waiting, report.String())
	}
}

// A fault that is gone when the order is read again was none: the order had moved
// between two books.
func testWhatClearsUpIsNoFault(t *testing.T, w *world) {
	w.exec(w.checkout, `update checkouts set status = 'placed' where id = $1`, confirmed)
	w.provider.onList = func(times int) {
		if times == 2 { // the second reading of the ledger
			w.exec(w.checkout, `update checkouts set status = 'confirmed' where id = $1`, confirmed)
			w.flush()
		}
	}
	src := w.sources()
	src.ClearWithin = time.Minute
	if report := w.verify(src); !report.OK() {
		t.Errorf("the order was found at fault:\n%s", report.String())
	}
}

func testManyOrders(t *testing.T, w *world) {
	const n = 3_000 // more than a page of the provider's ledger
	for _, part := range []struct {
		pool *pgxpool.Pool
		sql  string
	}{
		{w.checkout, `insert into checkouts select i, i::text, '', 'c', '[{"sku": "B", "quantity": 1, "unit_price": 100}]', 100, 'GBP', '', 'confirmed', null, now(), now(), 1`},
		{w.order, `insert into orders (id, status, lines, amount, currency, traceparent, placed_at, reserved_at, paid_at, settled_at, version)
			select i, 'confirmed', '[{"sku": "B", "quantity": 1, "unit_price": 100}]', 100, 'GBP', '', now(), now(), now(), now(), 1`},
		{w.inventory, `insert into reservations (id, status, verdict, allocations, traceparent, version)
			select i, 'shipped', 'ship', '[{"sku": "B", "warehouse": "leeds", "quantity": 1}]', '', 1`},
		{w.payment, `insert into payments select i, 'completed', 100, 'GBP', 't', '', false, 'ch-' || i, '', null, 0, '', null, now(), now(), now(), 1`},
	} {
		w.exec(part.pool, part.sql+` from generate_series(1, $1) s, lateral (select ('10000000-0000-7000-8000-' || lpad(s::text, 12, '0'))::uuid i) ids`, n)
	}
	w.exec(w.inventory, `insert into stock_movements (sku, warehouse, delta) values ('B', 'leeds', $1)`, n)
	for i := range n {
		id := uuid.MustParse(fmt.Sprintf("10000000-0000-7000-8000-%012d", i+1))
		w.provider.charge("ch-"+id.String(), id, 100)
	}
	report := w.verify(w.sources())
	if !report.OK() {
		t.Fatalf("good books were found at fault:\n%.1000s", report.String())
	}
	w.provider.charge("ch_twice", uuid.MustParse("10000000-0000-7000-8000-000000002500"), 100)
	if found := broken(w.verify(w.sources())); len(found["one charge if confirmed, none kept if not"]) != 1 {
		t.Errorf("found %v", found)
	}
}

func testAProviderThatDoesNotAnswer(t *testing.T, w *world) {
	w.flush()
	src := w.sources()
	src.Provider = provider.New("http://127.0.0.1:1", "key")
	if _, err := Run(t.Context(), src); err == nil || !strings.Contains(err.Error(), "payment provider") {
		t.Errorf("the error is %v", err)
	}
}

func testCancelledContext(t *testing.T, w *world) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, w.sources()); err == nil {
		t.Error("a run that was called off gave a report")
	}
}

// shop speaks the payment provider's list protocol (local/psp/API.md).
type shop struct {
	server  *httptest.Server
	mu      sync.Mutex
	charges []provider.Charge
	refunds []provider.Refund
	lists   int
	onList  func(times int) // told how often charges were listed from the start or on
}

func newShop(t *testing.T) *shop {
	s := &shop{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/charges", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lists++
		if s.onList != nil {
			s.onList(s.lists)
		}
		page(w, r, s.charges, func(c provider.Charge) string { return c.ID })
	})
	mux.HandleFunc("GET /v1/refunds", func(w http.ResponseWriter, r *http.Request) {
		page(w, r, s.refunds, func(c provider.Refund) string { return c.ID })
	})
	s.server = httptest.NewServer(mux)
	t.Cleanup(s.server.Close)
	return s
}

func page[T any](w http.ResponseWriter, r *http.Request, all []T, id func(T) string) {
	if r.Header.Get("Authorization") != "Bearer key" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	after := r.URL.Query().Get("starting_after")
	if i := slices.IndexFunc(all, func(e T) bool { return id(e) == after }); after != "" {
		all = all[i+1:]
	}
	const most = 1000
	more := len(all) > most
	json.NewEncoder(w).Encode(map[string]any{"data": all[:min(most, len(all))], "has_more": more})
}

func (s *shop) reset() { s.charges, s.refunds, s.lists, s.onList = nil, nil, 0, nil }

func (s *shop) charge(id string, order uuid.UUID, amount int64) {
	c := provider.Charge{ID: id, Amount: amount, Currency: "GBP"}
	if order != uuid.Nil {
		c.Metadata.OrderID = order.String()
	}
	s.charges = append(s.charges, c)
}

func (s *shop) refund(id, charge string, amount int64) {
	s.refunds = append(s.refunds, provider.Refund{ID: id, Charge: charge, Amount: amount})
}

func (s *shop) forget(id string) {
	s.charges = slices.DeleteFunc(s.charges, func(c provider.Charge) bool { return c.ID == id })
}

// Every service of the list brings rules of its own; its outbox and what it parked are
// looked at as those of all, and so are those of a database that is in no list.
func TestServicesBringTheirRules(t *testing.T) {
	w := newWorld(t)
	src := w.sources()
	loyalty := pgtest.Open(t, fstest.MapFS{"migrations/00001_points.sql": {Data: []byte(`-- +goose Up
create table points (id text, fault text);
`)}})
	unlisted := pgtest.Open(t, pgtest.None)
	src.Databases["loyalty"], src.Databases["unlisted"] = w.auditor(loyalty), w.auditor(unlisted)
	src.Services = append(books.All(), books.Service{Name: "loyalty", Books: audit.Books{Rules: []audit.Rule{{
		Name: "points add up", Unit: "customers", Count: `select count(*) from points`,
		Faults: `select id, fault from points where fault <> ''`,
	}}}})
	w.exec(loyalty, `insert into points values ('c1', '')`)
	find := func(report Report, name string) Check {
		i := slices.IndexFunc(report.Checks, func(c Check) bool { return c.Name == name })
		if i < 0 {
			t.Fatalf("there is no rule %q in\n%s", name, &report)
		}
		return report.Checks[i]
	}
	report := w.verify(src)
	if c := find(report, "loyalty: points add up"); !report.OK() || c.Checked != 1 || c.Unit != "customers" {
		t.Errorf("the rule is %+v of\n%s", c, &report)
	}
	w.exec(loyalty, `update points set fault = '17 points, but 18 earned'`)
	w.exec(unlisted, `insert into parked (consumer, event_id, topic, cause, attempts, traceparent, payload) values ('unlisted', $1, 't', 'c', 1, '', '')`, stranger)
	report = w.verify(src)
	if c := find(report, "loyalty: points add up"); len(c.Offenders) != 1 || c.Offenders[0] != (Offender{"c1", "17 points, but 18 earned"}) {
		t.Errorf("the rule is broken by %+v", c.Offenders)
	}
	if c := find(report, "no event is parked"); c.Checked != 6 || len(c.Offenders) != 1 || c.Offenders[0].ID != "unlisted "+stranger.String() {
		t.Errorf("of parked events the report says %+v", c)
	}
}

// A database that the rules need is not passed over in silence.
func TestADatabaseIsMissing(t *testing.T) {
	w := newWorld(t)
	src := w.sources()
	delete(src.Databases, "payment")
	if _, err := Run(t.Context(), src); err == nil || !strings.Contains(err.Error(), "payment") {
		t.Errorf("without the database of payment: %v", err)
	}
}
