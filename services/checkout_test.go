package services_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/price"
	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/platform/telemetry"
	checkoutservice "quadrille.internal/services/checkout"
	"quadrille.internal/services/checkout/audit"
)

// receipt is what checkout answers.
type receipt struct {
	ID    uuid.UUID
	Total events.Money
}

// accepted reads the receipt of an order and checks that it was announced over the same.
func (s *shop) accepted(a servicetest.Answer) receipt {
	s.t.Helper()
	var r receipt
	if err := json.Unmarshal([]byte(a.Body), &r); err != nil || a.Status != http.StatusAccepted {
		s.t.Fatalf("answered %d %s, %v, want an order", a.Status, a.Body, err)
	}
	announced := servicetest.Emitted(s.t, s.checkout.kit.Pool)[r.ID]
	if len(announced) != 1 || checkout.Created(announced[0]).Total != r.Total {
		s.t.Fatalf("announced %+v, want one over %v", announced, r.Total)
	}
	return r
}

// refused checks that there is no order, and why.
func (s *shop) refused(a servicetest.Answer, status int, code string) {
	s.t.Helper()
	if a.Status != status || a.Problem().Code != code {
		s.t.Errorf("answered %d %s, want %d %s", a.Status, a.Body, status, code)
	}
	if retry := a.Header.Get("Retry-After"); (status == http.StatusServiceUnavailable) != (retry != "") {
		s.t.Errorf("%s came with Retry-After %q", code, retry)
	}
}

func (s *shop) orders() (n int) {
	s.t.Helper()
	if err := s.checkout.kit.Pool.QueryRow(s.t.Context(), `select count(*) from checkouts`).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// A price that rose counts once the quote is over, one that fell at once.
func TestAQuoteHoldsWhilePricesMove(t *testing.T) {
	s := newShop(t)
	s.put(s.price, "/v1/prices/taxes/standard", `{"rate": 200000}`)
	q, token := s.quote("")
	if q.Total != 1080 || q.Tax != 180 {
		t.Fatalf("quoted %+v", q)
	}
	s.reprice(500)
	if r := s.accepted(s.order("k1", token, "")); r.Total != q.Money() || r.ID != q.ID {
		t.Errorf("dearer meanwhile: %+v, want the quote's total %v", r, q.Money())
	}
	q, token = s.quote("")
	s.reprice(400)
	if r := s.accepted(s.order("k2", token, "")); r.Total.Amount != 960 || r.ID != q.ID {
		t.Errorf("cheaper meanwhile: %+v, want 960 for a quote of %d", r, q.Total)
	}
	servicetest.CheckBooks(t, s.checkout.kit.Pool, audit.Books, q.ID, "accepted")
}

func TestAQuoteThatIsOver(t *testing.T) {
	s := newShop(t, "QUADRILLE_QUOTE_VALIDITY", "1s")
	over := func() (*price.Quote, string) {
		q, token := s.quote("")
		servicetest.Await(t, "the quote is over", func() bool { return !q.Valid(time.Now()) })
		return q, token
	}
	q, token := over()
	s.reprice(500)
	a := s.order("k1", token, "")
	s.refused(a, http.StatusConflict, "price_changed")
	for member, want := range map[string]int64{"quoted_total": q.Total, "current_total": 1000} {
		if !strings.Contains(a.Body, fmt.Sprintf(`"%s":{"amount":%d,"currency":"GBP"}`, member, want)) {
			t.Errorf("answered %s, want %s %d", a.Body, member, want)
		}
	}
	q, token = over()
	if r := s.accepted(s.order("k2", token, "")); r.Total != q.Money() {
		t.Errorf("as dear as before: %+v, want %v", r, q.Money())
	}
	_, token = over()
	s.toPrice.be(away)
	s.refused(s.order("k3", token, ""), http.StatusConflict, "quote_expired")
	if n := s.orders(); n != 1 {
		t.Errorf("%d orders, want 1", n)
	}
}

// Without price a quote counts by its signature. A voucher cannot be counted then: the order
// waits, and never costs the full price.
func TestPriceIsAway(t *testing.T) {
	for name, d := range map[string]disturb{"away": away, "hangs": hangs} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			s.voucher(10)
			plain, plainToken := s.quote("")
			reduced, reducedToken := s.quote("SPRING")
			if reduced.Total >= plain.Total {
				t.Fatalf("the voucher takes nothing off: %+v", reduced)
			}
			s.accepted(s.order("k0", second(s.quote("")), "")) // the keys are known
			s.toPrice.be(d)
			began := time.Now()
			if r := s.accepted(s.order("k1", plainToken, "")); r.Total != plain.Money() {
				t.Errorf("%+v, want %v", r, plain.Money())
			}
			s.refused(s.order("k2", reducedToken, ""), http.StatusServiceUnavailable, "price_unavailable")
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("two requests took %v", took)
			}
			s.toPrice.be(fine)
			if r := s.accepted(s.order("k2", reducedToken, "")); r.Total != reduced.Money() {
				t.Errorf("%+v, want %v", r, reduced.Money())
			}
		})
	}
}

// A replica that starts while price is away takes quotes by the keys that another one was told.
func TestAReplicaStartsWhilePriceIsAway(t *testing.T) {
	s := newShop(t)
	s.accepted(s.order("k0", second(s.quote("")), "")) // the keys are known, here and in the database
	q, token := s.quote("")
	s.toPrice.be(away)
	kit := *s.checkout.kit
	kit.Metrics = telemetry.NewMetrics("checkout")
	late := &room{kit: &kit}
	late.run(t, checkoutservice.Service())
	a := late.public.Do(http.MethodPost, "/v1/checkouts", fmt.Sprintf(`{"payment_token": "tok_success", "quote": %q}`, token), "Idempotency-Key", "k1")
	if r := s.accepted(a); r.Total != q.Money() {
		t.Errorf("%+v, want %v", r, q.Money())
	}
	rec := httptest.NewRecorder()
	kit.Metrics.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if !strings.Contains(rec.Body.String(), `quadrille_quotes_taken_by_signature_total{service="checkout"} 1`) {
		t.Error("the metrics do not count the order that was taken by signature alone")
	}
}

func second[A, B any](_ A, b B) B { return b }

// While price and customer are asked, checkout's database waits for nobody: no transaction is
// open then, so a slow service holds no lock and no connection.
func TestNoTransactionWaitsForAnotherService(t *testing.T) {
	s := newShop(t)
	s.accepted(s.order("k0", second(s.quote("")), "")) // the keys are known
	least := math.MaxInt
	s.toPrice.be(func(_ context.Context, _ string, call func() error) error {
		// Sweeps have transactions now and then. One that waits for price is open in each look.
		for until := time.Now().Add(10 * time.Second); least > 0 && time.Now().Before(until); {
			var open int
			if err := s.checkout.kit.Pool.QueryRow(t.Context(), `select count(*) from pg_stat_activity
				where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null and backend_type = 'client backend'`).Scan(&open); err != nil {
				return err
			}
			least = min(least, open)
		}
		return call()
	})
	s.accepted(s.order("k1", second(s.quote("")), ""))
	if least > 0 {
		t.Errorf("%d transactions are open while price is asked", least)
	}
}

// Whatever reply is lost, the order that is sent again has one voucher.
func TestARetryHoldsNoSecondVoucher(t *testing.T) {
	s := newShop(t)
	s.voucher(10)
	q, token := s.quote("SPRING")
	s.accepted(s.order("k0", second(s.quote("")), ""))
	s.toPrice.be(lost)
	s.refused(s.order("k1", token, ""), http.StatusServiceUnavailable, "price_unavailable")
	if held := s.held(); held != 1 {
		t.Fatalf("%d vouchers are held, want that of the lost reply", held)
	}
	s.toPrice.be(fine)
	first := s.order("k1", token, "")
	if r := s.accepted(first); r.Total != q.Money() {
		t.Errorf("%+v, want %v", r, q.Money())
	}
	if again := s.order("k1", token, ""); again.Body != first.Body {
		t.Errorf("answered %s, then %s", first.Body, again.Body)
	}
	if held := s.held(); held != 1 {
		t.Errorf("%d vouchers are held by one order", held)
	}
}

// A voucher that was held for an order which never came is free again once checkout has said
// so, and the order cannot come any more.
func TestAHoldWithoutAnOrderEnds(t *testing.T) {
	s := newShop(t)
	s.voucher(1)
	placed, placedToken := s.quote("")
	s.accepted(s.order("k0", placedToken, ""))
	_, token := s.quote("SPRING")
	s.toPrice.be(lost)
	s.refused(s.order("k1", token, ""), http.StatusServiceUnavailable, "price_unavailable")
	s.toPrice.be(fine)
	if held := s.held(); held != 1 {
		t.Fatalf("%d vouchers are held, want that of the lost reply", held)
	}
	servicetest.Exec(t, s.price.kit.Pool, `update voucher_uses set ask_at = now()`)
	servicetest.Await(t, "the voucher is free again", func() bool { return s.held() == 0 })
	s.refused(s.order("k1", token, ""), http.StatusConflict, "quote_given_up")
	s.accepted(s.order("k1", second(s.quote("SPRING")), ""))
	if held, n := s.held(), s.orders(); held != 1 || n != 2 {
		t.Errorf("%d vouchers are held and %d orders placed, want 1 and 2", held, n)
	}
	if a := s.order("k0", placedToken, ""); a.Status != http.StatusAccepted {
		t.Errorf("order %s, which stands, is answered %d %s", placed.ID, a.Status, a.Body)
	}
}

// Two tabs with one quote, and the last voucher: one order, and both are told which.
func TestTwoTabsOrderOneQuote(t *testing.T) {
	s := newShop(t)
	s.voucher(1)
	_, token := s.quote("SPRING")
	answers := make([]servicetest.Answer, 6)
	var race sync.WaitGroup
	for i := range answers {
		race.Go(func() { answers[i] = s.order(fmt.Sprint("tab-", i), token, "") })
	}
	race.Wait()
	for _, a := range answers {
		if a.Status != http.StatusAccepted || a.Body != answers[0].Body {
			t.Errorf("answered %d %s and %d %s, want one order", answers[0].Status, answers[0].Body, a.Status, a.Body)
		}
	}
	if held, n := s.held(), s.orders(); held != 1 || n != 1 {
		t.Errorf("%d vouchers are held and %d orders placed, want 1 and 1", held, n)
	}
}

// What price refuses is told as it says, and holds nothing.
func TestTheLastVoucherIsGone(t *testing.T) {
	s := newShop(t)
	s.voucher(1)
	_, mine := s.quote("SPRING")
	_, other := s.quote("SPRING")
	s.accepted(s.order("k1", mine, ""))
	s.refused(s.order("k2", other, ""), http.StatusConflict, "voucher_used_up")
	if held, n := s.held(), s.orders(); held != 1 || n != 1 {
		t.Errorf("%d vouchers are held and %d orders placed, want 1 and 1", held, n)
	}
}

// While a replica of price or customer is replaced, calls that meet it fail at once, or get no
// answer. The next attempt meets another one, and nobody is told to come again.
func TestAReplicaThatIsReplacedIsNotNoticed(t *testing.T) {
	s := newShop(t)
	s.voucher(1_000)
	address := s.address("carl")
	s.accepted(s.order("k0", second(s.quote("")), address)) // the keys are known
	for _, c := range []struct {
		name  string
		stops disturb
		calls int64
	}{{"refuses", away, 3}, {"is-silent", hangs, 1}} {
		var round int
		// On a machine that is busy the first attempt may take the time of the next one.
		servicetest.Await(t, "an order does not notice a replica that "+c.name, func() bool {
			round++
			q, token := s.quote("SPRING")
			for _, way := range []*line{s.toPrice, s.toCustomer} {
				var calls atomic.Int64
				way.be(func(ctx context.Context, method string, call func() error) error {
					if calls.Add(1) <= c.calls {
						return c.stops(ctx, method, call)
					}
					return call()
				})
			}
			a := s.order(fmt.Sprint(c.name, round), token, address)
			s.toPrice.be(fine)
			s.toCustomer.be(fine)
			if a.Status == http.StatusServiceUnavailable {
				return false
			}
			if r := s.accepted(a); r.Total != q.Money() || s.held() == 0 {
				t.Errorf("%s: %+v, want %v with the voucher", c.name, r, q.Money())
			}
			return true
		})
	}
}

// An order goes to an address of its customer, and to no other.
func TestTheAddressIsTheCustomers(t *testing.T) {
	s := newShop(t)
	addresses := map[string]string{"carl": s.address("carl"), "ann": s.address("ann")}
	_, token := s.quote("")
	s.refused(s.order("k1", token, addresses["ann"]), http.StatusUnprocessableEntity, "address_not_found")
	s.toCustomer.be(hangs)
	began := time.Now()
	s.refused(s.order("k1", token, addresses["carl"]), http.StatusServiceUnavailable, "address_unavailable")
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	s.toCustomer.be(fine)
	r := s.accepted(s.order("k1", token, addresses["carl"]))
	e := checkout.Created(servicetest.Emitted(t, s.checkout.kit.Pool)[r.ID][0])
	if e.AddressID.String() != addresses["carl"] || e.CartID != "cart-1" {
		t.Errorf("announced %+v", e)
	}
	if a := s.customer.public.Do(http.MethodDelete, "/v1/customers/carl/addresses/"+addresses["carl"], ""); a.Status/100 != 2 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	s.refused(s.order("k2", second(s.quote("")), addresses["carl"]), http.StatusUnprocessableEntity, "address_not_found")
	if n := s.orders(); n != 1 {
		t.Errorf("%d orders, want 1", n)
	}
}

// Who has a cart quoted for a country without tax cannot have it sent to one with tax.
func TestAnOrderGoesToTheCountryOfItsQuote(t *testing.T) {
	s := newShop(t)
	s.put(s.price, "/v1/prices/taxes/gb", `{"region": "GB", "rate": 200000}`)
	address := s.address("carl")
	for _, region := range []string{"", "US", "GG"} {
		q, token := s.quoteTo(region, "")
		if q.Tax != 0 {
			t.Fatalf("to %q there is a tax: %+v", region, q)
		}
		s.refused(s.order("to"+region, token, address), http.StatusConflict, "quote_of_another_country")
	}
	for _, region := range []string{"GB", "GB-NIR"} {
		if r := s.accepted(s.order("to"+region, second(s.quoteTo(region, "")), address)); r.Total.Amount != 1080 {
			t.Errorf("to %s: %+v, want 900 and a tax of 180", region, r)
		}
	}
}

// Once a quote is over the price of now counts, and so does what groups its customer is in now:
// who has left one has its price no longer.
func TestAQuoteThatIsOverNeedsItsGroups(t *testing.T) {
	s := newShop(t, "QUADRILLE_QUOTE_VALIDITY", "1s")
	s.put(s.price, "/v1/prices/lists/trade", `{"group": "trade", "currency": "GBP", "valid_from": "2026-01-01"}`)
	s.put(s.price, "/v1/prices/lists/trade/prices", `{"prices": [{"sku": "TEA", "tiers": [{"min_quantity": 1, "amount": 100}]}]}`)
	in := func(groups ...string) *servicetest.Client {
		carl := caller.Caller{ID: "carl", Groups: groups}
		return servicetest.Serve(t, func(r chi.Router) {
			s.checkout.app.Routes(r.With(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					next.ServeHTTP(w, r.WithContext(caller.With(r.Context(), carl)))
				})
			}))
		})
	}
	q, token := s.quoteTo("GB", "", "trade")
	servicetest.Await(t, "the quote is over", func() bool { return !q.Valid(time.Now()) })
	body := fmt.Sprintf(`{"payment_token": "tok_success", "quote": %q}`, token)
	order := func(as *servicetest.Client) servicetest.Answer {
		return as.Do(http.MethodPost, "/v1/checkouts", body, "Idempotency-Key", "k")
	}
	s.refused(order(in("friends")), http.StatusConflict, "quote_expired")
	if r := s.accepted(order(in("friends", "trade"))); r.Total.Amount != 200 {
		t.Errorf("%+v, want 200", r)
	}
}

// Whatever happens to prices, vouchers and the way to price, no order costs anything but
// what a quote of price's says, and never more than the one that its customer saw.
func TestNoOrderCostsAnythingButItsQuote(t *testing.T) {
	s := newShop(t)
	s.voucher(15)
	s.accepted(s.order("first", second(s.quote("")), "")) // the keys are known
	placed := 1
	rapid.Check(t, func(r *rapid.T) {
		s.reprice(rapid.Int64Range(100, 1000).Draw(r, "price"))
		voucher := ""
		if left := 15 - s.held(); left > 0 && rapid.Bool().Draw(r, "with a voucher") {
			voucher = "SPRING"
		}
		q, token := s.quote(voucher)
		s.reprice(rapid.Int64Range(100, 1000).Draw(r, "price later"))
		s.toPrice.be(rapid.SampledFrom([]disturb{fine, fine, away, lost}).Draw(r, "the way"))
		key := uuid.NewString()
		a := s.order(key, token, "")
		s.toPrice.be(fine)
		if a.Status != http.StatusAccepted {
			if !slices.Contains([]int{http.StatusConflict, http.StatusServiceUnavailable}, a.Status) {
				r.Fatalf("answered %d %s", a.Status, a.Body)
			}
			if a = s.order(key, token, ""); a.Status != http.StatusAccepted {
				r.Fatalf("sent again: %d %s", a.Status, a.Body)
			}
		}
		placed++
		if got := s.accepted(a); got.Total.Amount > q.Total || got.ID != q.ID {
			r.Fatalf("an order over %v of a quote over %v", got.Total, q.Money())
		}
	})
	checks, err := audit.Books.Check(t.Context(), s.checkout.kit.Pool)
	if err != nil || len(checks) != 1 || checks[0].Checked != placed || len(checks[0].Faults) > 0 {
		t.Errorf("the books say %+v, %v, want %d without a fault", checks, err, placed)
	}
}
