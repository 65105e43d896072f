package customer

import (
	"bytes"
	"context"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/google/uuid"

	"quadrille.internal/events"
	_ "quadrille.internal/events/all"
	"quadrille.internal/events/b2b"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/customer"
	"quadrille.internal/events/order"
	customerv1 "quadrille.internal/events/proto/customer/v1"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/customer/audit"
	"quadrille.internal/services/customer/wire"
)

// answer is that of a holder.
func answer(t *testing.T, eventType, who string) inbox.Message {
	t.Helper()
	def, ok := events.Lookup(eventType)
	if !ok {
		t.Fatalf("%s is not registered", eventType)
	}
	did := events.Erased{OfCustomer: events.OfCustomer{CustomerID: who}, Pseudonymised: 2}
	e := reflect.New(reflect.TypeOf(def.Sample))
	e.Elem().FieldByName("Erased").Set(reflect.ValueOf(did))
	return servicetest.Message(t, e.Interface().(events.Event), time.Now())
}

func (f *fixture) erase(who string) wire.Erasure {
	f.t.Helper()
	return decoded[wire.Erasure](f.t, f.as(who, "DELETE", of(who, ""), "", 202).Body)
}

func (f *fixture) list() []wire.Erasure {
	f.t.Helper()
	a := f.operators.Do("GET", "/v1/erasures", "")
	if a.Status != 200 {
		f.t.Fatalf("list erasures: %d %s", a.Status, a.Body)
	}
	return decoded[wire.Erasures](f.t, a.Body).Erasures
}

// checkGone fails where the customer can be found: in what is sealed, by the key, or by the id
// outside of events that are not published yet and the list of those who answer.
func (f *fixture) checkGone(who string, but ...string) {
	f.t.Helper()
	if found := servicetest.Holding(f.t, f.kit.Pool, who); !slices.Equal(found, but) {
		f.t.Errorf("the id of the customer is in %v, want it in %v", found, but)
	}
	for _, table := range []string{"customers", "data_keys", "addresses", "consents"} {
		var n int
		if err := f.kit.Pool.QueryRow(f.t.Context(), `select count(*) from `+table).Scan(&n); err != nil || n > 0 {
			f.t.Errorf("%d rows are left in %s, %v", n, table, err)
		}
	}
}

func (f *fixture) story() {
	f.t.Helper()
	if rules := servicetest.CheckBooks(f.t, f.kit.Pool, audit.Books, uuid.New()); len(rules) != 3 {
		f.t.Errorf("the rules are %q", rules)
	}
}

// The data is kept while an open order may need the address, and no longer; the id until the
// last has answered.
func TestACustomerIsErasedStepByStep(t *testing.T) {
	f := newFixture(t)
	f.fill()
	asked := f.erase(ann)
	if asked.CustomerID != ann || asked.ErasedAt != nil || !slices.Equal(asked.WaitsFor, missing(nil)) {
		t.Errorf("asked for is %+v", asked)
	}
	if again := f.erase(ann); !reflect.DeepEqual(again, asked) {
		t.Errorf("asked again, it is %+v, want %+v", again, asked)
	}
	told := servicetest.EmittedAbout(t, f.kit.Pool, ann)
	if want := []string{customer.TypeGroupsChanged, customer.TypeErasureRequested}; !slices.Equal(servicetest.Types(told), want) {
		t.Errorf("told %v, want %v", servicetest.Types(told), want)
	}
	for n, eventType := range []string{checkout.TypeCustomerErased, b2b.TypeCustomerErased} {
		f.in.Deliver(answer(t, eventType, ann))
		if got := f.list(); len(got) != 1 || got[0].ErasedAt != nil || len(got[0].WaitsFor) != len(holders)-n-1 {
			t.Errorf("after %s: %+v", eventType, got)
		}
	}
	if got, err := (&calls{store: f.st}).Address(t.Context(), &customerv1.AddressRequest{CustomerId: ann, AddressId: home}); err != nil {
		t.Errorf("while an order is open, its address is %v, %v", got, err)
	}
	f.in.Deliver(answer(t, order.TypeCustomerErased, ann))
	f.checkGone(ann, "erasure_requests", "outbox")
	if got := f.list(); len(got) != 1 || got[0].ErasedAt == nil {
		t.Errorf("after those who may need the address: %+v", got)
	}
	if _, err := (&calls{store: f.st}).Address(t.Context(), &customerv1.AddressRequest{CustomerId: ann, AddressId: home}); status.Code(err) != codes.NotFound {
		t.Errorf("the address of an erased customer: %v", err)
	}
	for eventType := range holders {
		f.in.Deliver(answer(t, eventType, ann)) // some of them again
	}
	f.checkGone(ann, "outbox")
	if got := f.list(); len(got) > 0 {
		t.Errorf("when all have answered, the list is %+v", got)
	}
	f.as(ann, "GET", of(ann, ""), "", 404)
	f.story()
}

// An answer that came twice may be parked once: it is no place where the id stays.
func TestAParkedAnswerIsErasedToo(t *testing.T) {
	f := newFixture(t)
	f.erase(ann)
	broken := answer(t, order.TypeCustomerErased, ann)
	broken.Payload = bytes.Replace(broken.Payload, []byte(`"pseudonymised":2`), []byte(`"pseudonymised":"2"`), 1)
	if parked := f.in.DeliverAny(broken); len(parked) != 1 {
		t.Fatalf("%d events are parked, want the answer", len(parked))
	}
	for eventType := range holders {
		f.in.DeliverAny(answer(t, eventType, ann))
	}
	f.checkGone(ann, "outbox")
}

// Answers may come in any order, and at once.
func TestAnswersComeAtOnce(t *testing.T) {
	f := newFixture(t)
	f.fill()
	f.as(ben, "PUT", of(ben, "profile"), profile, 200)
	f.erase(ann)
	f.erase(ben)
	var all []inbox.Message
	for eventType := range holders {
		all = append(all, answer(t, eventType, ann), answer(t, eventType, ben), answer(t, eventType, "nobody"))
	}
	f.in.Deliver(all...)
	f.checkGone(ann, "outbox")
	f.checkGone(ben, "outbox")
	f.story()
}

// A token outlives its account by minutes. What is sent with it brings nothing back.
func TestNothingIsAddedToWhoIsErased(t *testing.T) {
	f := newFixture(t)
	f.fill()
	f.erase(ann)
	check := func(when string) {
		t.Helper()
		for part, body := range map[string]string{"profile": profile, "addresses/" + uuid.NewString(): address, "consents/analytics": `{"granted":true}`} {
			if p := f.as(ann, "PUT", of(ann, part), body, 409).Problem(); p.Code != "customer_erased" {
				t.Errorf("%s, PUT %s answers %+v", when, part, p)
			}
		}
		if p := f.operators.Do("PUT", of(ann, "groups"), `{"groups":["staff"]}`).Problem(); p.Code != "customer_erased" {
			t.Errorf("%s, an operator's groups answer %+v", when, p)
		}
	}
	check("asked for")
	for eventType := range holders {
		f.in.Deliver(answer(t, eventType, ann))
	}
	check("erased")
	f.checkGone(ann, "outbox")
}

// Changes and the request at the same time: nothing is left in the end.
func TestChangesBesideTheErasure(t *testing.T) {
	f := newFixture(t)
	var beside [8]chan struct{}
	for n := range beside {
		beside[n] = make(chan struct{})
		go func() {
			defer close(beside[n])
			if n == 4 {
				f.erase(ann)
				for eventType := range holders {
					f.in.Deliver(answer(t, eventType, ann))
				}
				return
			}
			for range 5 {
				if a := f.api.Do("PUT", of(ann, "profile"), profile, "Quadrille-Caller", ann); a.Status != 200 && a.Status != 409 {
					t.Errorf("%d %s", a.Status, a.Body)
				}
			}
		}()
	}
	for n := range beside {
		<-beside[n]
	}
	f.checkGone(ann, "outbox")
}

// Who was erased and comes again from a backup is erased once more.
func TestAskedAfterTheEndItStartsAgain(t *testing.T) {
	f := newFixture(t)
	for range 2 {
		if asked := f.erase(ann); len(asked.WaitsFor) != len(holders) {
			t.Errorf("asked for is %+v", asked)
		}
		for eventType := range holders {
			f.in.Deliver(answer(t, eventType, ann))
		}
		f.checkGone(ann, "outbox")
	}
	if told := servicetest.EmittedAbout(t, f.kit.Pool, ann); len(told) != 2 {
		t.Errorf("told %d times, want 2", len(told))
	}
}

// An operator who asks while services have not answered has them asked at once, and no one
// else can have them asked again and again.
func TestOperatorsHaveHoldersAskedAtOnce(t *testing.T) {
	f := newFixture(t)
	asked := f.erase(ann)
	f.erase(ann)
	a := f.operators.Do("DELETE", of(ann, ""), "")
	if again := decoded[wire.Erasure](t, a.Body); a.Status != 202 || !reflect.DeepEqual(again, asked) {
		t.Errorf("an operator asks: %d %s, want %+v", a.Status, a.Body, asked)
	}
	if told := servicetest.EmittedAbout(t, f.kit.Pool, ann); len(told) != 2 || !reflect.DeepEqual(told[0], told[1]) {
		t.Errorf("told %+v, want the same twice", told)
	}
	f.in.Deliver(answer(t, checkout.TypeCustomerErased, ann))
	if got := f.list(); len(got) != 1 || len(got[0].WaitsFor) != len(holders)-1 {
		t.Errorf("after an answer: %+v", got)
	}
}

func TestHoldersAreAskedAgain(t *testing.T) {
	f := newFixture(t)
	f.erase(ann)
	for _, c := range []struct {
		since string
		want  int
	}{{"23 hours", 0}, {"25 hours", 1}, {"0 hours", 0}} {
		if c.since != "0 hours" {
			servicetest.Exec(t, f.kit.Pool, `update erasure_requests set told_at = now() - $1::text::interval`, c.since)
		}
		if told, err := f.tellAgain(t.Context()); err != nil || told != c.want {
			t.Errorf("after %s: told %d again, %v, want %d", c.since, told, err, c.want)
		}
	}
	if told := servicetest.EmittedAbout(t, f.kit.Pool, ann); len(told) != 2 || !reflect.DeepEqual(told[0], told[1]) {
		t.Errorf("told %+v, want the same twice", told)
	}
}

// The alarm says once who has not answered, and not of whom.
func TestTheDeadlineAlarm(t *testing.T) {
	f := newFixture(t)
	var log bytes.Buffer
	f.log = slog.New(slog.NewTextHandler(&log, nil))
	f.erase(ann)
	f.in.Deliver(answer(t, checkout.TypeCustomerErased, ann))
	alarms := func() int {
		t.Helper()
		if err := f.alarm(context.Background()); err != nil {
			t.Fatal(err)
		}
		return strings.Count(log.String(), "is not erased in time")
	}
	if n := alarms(); n != 0 || f.open.Load() != 1 || f.late.Load() != 0 {
		t.Errorf("%d alarms before the deadline, %d open, %d late", n, f.open.Load(), f.late.Load())
	}
	f.story()
	servicetest.Exec(t, f.kit.Pool, `update erasure_requests set deadline = now() - interval '1 minute'`)
	for range 2 {
		if n := alarms(); n != 1 || f.late.Load() != 1 || f.waiting["order"] != 1 || f.waiting["checkout"] != 0 {
			t.Errorf("%d alarms, %d late, waiting for %v", n, f.late.Load(), f.waiting)
		}
	}
	if text := log.String(); !strings.Contains(text, "order") || strings.Contains(text, ann) {
		t.Errorf("the alarm says %s", text)
	}
	checks, err := audit.Books.Check(t.Context(), f.kit.Pool)
	if err != nil || len(checks[2].Faults) != 1 || checks[2].Faults[0].ID != ann {
		t.Errorf("auditors see %+v, %v", checks, err)
	}
}

// Auditors find what an erasure left, and what came back from a backup.
func TestAuditorsFindResidue(t *testing.T) {
	f := newFixture(t)
	f.erase(ann)
	for eventType := range holders {
		f.in.Deliver(answer(t, eventType, ann))
	}
	f.story()
	servicetest.Exec(t, f.kit.Pool, `insert into data_keys (customer_id, sealed) values ($1, '')`, ann)
	checks, err := audit.Books.Check(t.Context(), f.kit.Pool)
	if err != nil || len(checks[0].Faults) != 1 || !strings.Contains(checks[0].Faults[0].Problem, "data_keys") {
		t.Errorf("auditors see %+v, %v", checks, err)
	}
}
