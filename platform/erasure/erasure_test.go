package erasure_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/customer"
	"quadrille.internal/events/order"
	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const who = "0197741f-4a00-7000-8000-00000000cafe"

var column = erasure.Column{Table: "orders", Name: "customer_id"}

// holder is a service that keeps the customer of each order.
type holder struct {
	*erasure.Holder
	t    *testing.T
	kit  *service.Kit
	in   *servicetest.Inbox
	open string // what is open, if something is
	// erasing is called before an erasure commits.
	erasing func(erasure.Customer) error
}

func newHolder(t *testing.T) *holder {
	t.Helper()
	h := &holder{t: t}
	h.kit = servicetest.NewKit(t, service.Spec{
		Name: "order", Port: 18400, Emits: []string{order.TypeCustomerErased},
		Hears: []string{customer.TypeErasureRequested, checkout.TypeOrderCreated},
		Migrations: fstest.MapFS{"migrations/00001_orders.sql": {Data: []byte(
			"-- +goose Up\ncreate table orders (id uuid primary key, customer_id text not null, version bigint not null);\n")}},
	})
	h.Holder = erasure.New(h.kit, h.erase, func(e events.Erased) events.Event { return order.CustomerErased{Erased: e} })
	h.in = servicetest.RunInbox(t, h.kit, h.Handle(h.handle))
	return h
}

func (h *holder) erase(ctx context.Context, tx *outbox.Tx, c erasure.Customer) (erasure.Outcome, error) {
	n, err := column.Pseudonymise(ctx, tx, c)
	if h.erasing != nil {
		err = errors.Join(err, h.erasing(c))
	}
	return erasure.Outcome{Pseudonymised: n, WaitsFor: h.open}, err
}

// handle keeps who ordered what, but for orders that it refuses.
func (h *holder) handle(_ context.Context, tx *outbox.Tx, batch []inbox.Delivery) error {
	var customers []string
	for _, d := range batch {
		e := d.Event.(*checkout.OrderCreated)
		if e.PaymentToken == "tok_refused" {
			return errors.New("it cannot be handled")
		}
		customers = append(customers, e.CustomerID)
		tx.Last(`insert into orders (id, customer_id, version) values ($1, $2, 1)`, e.OrderID, e.CustomerID)
	}
	column.Keep(tx, customers)
	return nil
}

func created(t *testing.T, token string) inbox.Message {
	t.Helper()
	return servicetest.Message(t, checkout.OrderCreated{
		OfOrder: events.OfOrder{OrderID: uuid.New()}, CustomerID: who, PaymentToken: token,
		Lines: []events.Line{{SKU: "TEA", Quantity: 1, UnitPrice: 450}}, Total: events.Money{Amount: 450, Currency: "GBP"},
	}, time.Now())
}

func (h *holder) ask() {
	h.t.Helper()
	h.in.DeliverAny(servicetest.Message(h.t, customer.ErasureRequested{
		OfCustomer: events.OfCustomer{CustomerID: who}, Deadline: time.Now().Add(time.Hour),
	}, time.Now()))
}

// next has the holder look at all requests, and returns the answers so far.
func (h *holder) next() []events.Event {
	h.t.Helper()
	servicetest.EraseDue(h.t, h.kit.Pool, h.Next)
	return servicetest.EmittedAbout(h.t, h.kit.Pool, who)
}

// checkGone fails where the id is left, but in the answer.
func (h *holder) checkGone() {
	h.t.Helper()
	if left := servicetest.Holding(h.t, h.kit.Pool, who); !slices.Equal(left, []string{"outbox"}) {
		h.t.Errorf("the customer's id is in %v, want only the answer in the outbox", left)
	}
}

func (h *holder) orders() (n int) {
	h.t.Helper()
	if err := h.kit.Pool.QueryRow(h.t.Context(), `select count(*) from orders`).Scan(&n); err != nil {
		h.t.Fatal(err)
	}
	return n
}

func TestACustomerIsErased(t *testing.T) {
	h := newHolder(t)
	h.in.Deliver(created(t, "tok_success"), created(t, "tok_success"))
	if parked := h.in.DeliverAny(created(t, "tok_refused")); len(parked) != 1 {
		t.Fatalf("%d events are parked, want 1", len(parked))
	}
	servicetest.Exec(t, h.kit.Pool, `
		insert into parked_discards (consumer, event_id, topic, cause, attempts, traceparent, payload, parked_at, tried_at, discarded_by, reason)
		select consumer, event_id, topic, cause, attempts, traceparent, payload, parked_at, tried_at, 'alice', 'a test' from parked`)
	h.ask()
	answers := h.next()
	want := order.CustomerErased{Erased: events.Erased{OfCustomer: events.OfCustomer{CustomerID: who}, Pseudonymised: 4}}
	if len(answers) != 1 || *answers[0].(*order.CustomerErased) != want {
		t.Errorf("answered %+v, want %+v", answers, want)
	}
	h.checkGone()
	if n := h.orders(); n != 2 {
		t.Errorf("%d orders are left, want both", n)
	}
	var pseudonyms int
	if err := h.kit.Pool.QueryRow(t.Context(), `select count(distinct customer_id) from orders where customer_id like 'erased-%'`).Scan(&pseudonyms); err != nil || pseudonyms != 1 {
		t.Errorf("the orders have %d pseudonyms, %v, want one", pseudonyms, err)
	}
	if _, err := h.Next(t.Context()); err != nil || len(h.next()) != 1 {
		t.Errorf("looking once more answers %d times, %v", len(h.next()), err)
	}
}

// What was parked and is replayed afterwards has its effect, without the id.
func TestAReplayedEventBringsNothingBack(t *testing.T) {
	h := newHolder(t)
	h.in.DeliverAny(created(t, "tok_refused"))
	h.ask()
	h.next()
	var payload []byte
	if err := h.kit.Pool.QueryRow(t.Context(), `select payload from parked`).Scan(&payload); err != nil {
		t.Fatal(err)
	}
	_, e, err := events.Decode(payload)
	if err != nil || !strings.HasPrefix(e.(*checkout.OrderCreated).CustomerID, "erased-") {
		t.Errorf("parked is %s, %v", payload, err)
	}
}

func TestWhatIsOpenDefersTheErasure(t *testing.T) {
	h := newHolder(t)
	h.in.Deliver(created(t, "tok_success"))
	h.open = "1 open order"
	h.ask()
	if answers := h.next(); len(answers) > 0 {
		t.Fatalf("answered %+v while an order is open", answers)
	}
	var waitsFor, customerID string
	if err := h.kit.Pool.QueryRow(t.Context(), `select waits_for, (select customer_id from orders) from erasures where look_at > now()`).
		Scan(&waitsFor, &customerID); err != nil || waitsFor != h.open || customerID != who {
		t.Errorf("it waits for %q, the order is of %q, %v", waitsFor, customerID, err)
	}
	if _, err := h.Next(t.Context()); err != nil || len(servicetest.EmittedAbout(t, h.kit.Pool, who)) > 0 {
		t.Errorf("answered before it is due again, %v", err)
	}
	h.open = ""
	if answers := h.next(); len(answers) != 1 {
		t.Errorf("answered %+v when nothing is open", answers)
	}
	h.checkGone()
}

func TestALateEventBringsNothingBack(t *testing.T) {
	h := newHolder(t)
	h.ask()
	h.next()
	h.in.Deliver(created(t, "tok_success"))
	h.checkGone()
	if n := h.orders(); n != 1 {
		t.Errorf("%d orders, want the one that came late", n)
	}
}

// A transaction that began before the request may write the id after it: the customer is
// not erased before that transaction has ended, whether it has written already or only
// looked whether it may.
func TestWhatBeganBeforeIsWaitedFor(t *testing.T) {
	write := func(ctx context.Context, tx *outbox.Tx) error {
		_, err := tx.Exec(ctx, `insert into orders (id, customer_id, version) values ($1, $2, 1)`, uuid.New(), who)
		return err
	}
	look := func(ctx context.Context, tx *outbox.Tx) error {
		asked, err := erasure.Asked(ctx, tx, who)
		if asked {
			err = errors.Join(err, erasure.Refused())
		}
		return err
	}
	nothing := func(context.Context, *outbox.Tx) error { return nil }
	for name, c := range map[string]struct {
		before, after func(context.Context, *outbox.Tx) error
	}{
		"it has written": {write, nothing}, "it has looked": {look, write},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHolder(t)
			ctx := t.Context()
			early, end := make(chan struct{}), make(chan struct{})
			var writing sync.WaitGroup
			writing.Go(func() {
				err := h.kit.Outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
					err := c.before(ctx, tx)
					close(early)
					<-end
					return errors.Join(err, c.after(ctx, tx))
				})
				if err != nil {
					t.Error(err)
				}
			})
			<-early
			h.ask()
			if _, err := h.Next(ctx); err != nil || len(servicetest.EmittedAbout(t, h.kit.Pool, who)) > 0 {
				t.Errorf("answered while a transaction from before is open, %v", err)
			}
			close(end)
			writing.Wait()
			if answers := h.next(); len(answers) != 1 {
				t.Errorf("answered %+v when it has ended", answers)
			}
			h.checkGone()
		})
	}
}

// Events come while their customer is being erased: whichever commits first, the id is
// gone in the end.
func TestEventsBesideTheErasure(t *testing.T) {
	h := newHolder(t)
	h.ask()
	erasing, written := make(chan struct{}), make(chan struct{})
	h.erasing = func(erasure.Customer) error {
		close(erasing) // the table is looked through, and nothing is committed
		<-written
		return nil
	}
	var beside sync.WaitGroup
	commit := sync.OnceFunc(func() { close(written); beside.Wait() })
	defer commit() // also when the test ends early
	beside.Go(func() { h.next() })
	<-erasing
	beside.Go(func() { h.in.Deliver(created(t, "tok_success")) })
	admin := pgtest.Admin(t, h.kit.Pool)
	servicetest.Await(t, "the event waits for the erasure", func() bool {
		var waits bool
		err := admin.QueryRow(t.Context(), `select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')`).Scan(&waits)
		return err == nil && waits
	})
	commit()
	h.checkGone()
}

func TestAskedAgainItAnswersAgain(t *testing.T) {
	h := newHolder(t)
	for n := range 3 {
		h.ask()
		if answers := h.next(); len(answers) != n+1 {
			t.Errorf("asked %d times, it has answered %d times", n+1, len(answers))
		}
		h.checkGone()
	}
}

func TestWhoIsErasedIsRefused(t *testing.T) {
	h := newHolder(t)
	asked := func() bool {
		found, err := erasure.Asked(t.Context(), h.kit.Pool, who)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if asked() {
		t.Error("a customer is refused whom nobody asked to erase")
	}
	h.ask()
	if !asked() {
		t.Error("a customer is not refused who must be erased")
	}
	h.next()
	if !asked() {
		t.Error("a customer is not refused who is erased")
	}
}

// What fails for one customer is tried again, and holds up no other.
func TestAFailureHoldsUpNobodyElse(t *testing.T) {
	h := newHolder(t)
	h.erasing = func(c erasure.Customer) error {
		if c.ID == who {
			return errors.New("the table is broken")
		}
		return nil
	}
	h.ask()
	h.in.Deliver(servicetest.Message(t, customer.ErasureRequested{
		OfCustomer: events.OfCustomer{CustomerID: "another"}, Deadline: time.Now().Add(time.Hour),
	}, time.Now()))
	told := false
	servicetest.EraseDue(t, h.kit.Pool, func(ctx context.Context) (bool, error) {
		more, err := h.Next(ctx)
		told = told || err != nil
		return more, nil
	})
	if !told {
		t.Error("the failure is not told")
	}
	if n := len(servicetest.EmittedAbout(t, h.kit.Pool, "another")); n != 1 {
		t.Errorf("the other customer was answered %d times", n)
	}
	if n := len(servicetest.EmittedAbout(t, h.kit.Pool, who)); n != 0 {
		t.Errorf("the failed erasure was answered %d times", n)
	}
}
