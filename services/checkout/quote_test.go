package checkout

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/price"
	checkoutv1 "quadrille.internal/events/proto/checkout/v1"
	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/quote"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/checkout/audit"
)

// away is the connection to a service that does not answer. How checkout and the real
// price and customer get on, package services tests.
type away struct{}

func (away) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	return status.Error(codes.Unavailable, "away")
}

func (away) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unavailable, "away")
}

// signer signs quotes as price does.
type signer struct{ key quote.Key }

func newSigner(t *testing.T, until time.Time) *signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{quote.Key{ID: uuid.NewString(), Private: private, Until: until}}
}

func (s *signer) sign(t *testing.T, q *price.Quote) string {
	t.Helper()
	token, err := quote.Sign(s.key, q)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// keysOf is what price publishes of the signers' keys.
func keysOf(t *testing.T, signers ...*signer) *quote.Keys {
	t.Helper()
	var list []quote.Key
	for _, s := range signers {
		list = append(list, s.key)
	}
	jwks, err := quote.Publish(list)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := quote.ParseKeys(jwks)
	if err != nil {
		t.Fatal(err)
	}
	return &keys
}

// newQuote is valid, and over 22.51 GBP.
func newQuote(change ...func(*price.Quote)) *price.Quote {
	now := time.Now().UTC().Truncate(time.Second)
	q := &price.Quote{
		ID: uuid.Must(uuid.NewV7()), Version: 7, CustomerID: "customer-17850", CartID: "cart-1", Currency: "GBP",
		Lines: []price.Line{
			{SKU: "71053", Quantity: 1, ListPrice: 339, UnitPrice: 300, Total: 300, Tax: 60},
			{SKU: "85123A", Quantity: 6, ListPrice: 255, UnitPrice: 255, Total: 1377, Tax: 275,
				Adjustments: []price.Adjustment{{Name: "SPRING10", Amount: -153}}},
		},
		Adjustments: []price.Adjustment{{Name: "SPRING10", Amount: -153}},
		Shipping:    199, Tax: 375, Total: 2251, IssuedAt: now, ExpiresAt: now.Add(15 * time.Minute),
	}
	for _, c := range change {
		c(q)
	}
	return q
}

// withoutPrice is a replica that has the keys of price, which is away.
func (f fixture) withoutPrice(t *testing.T, keys *quote.Keys) *servicetest.Client {
	t.Helper()
	p := newPlacer(f.kit.Pool, f.kit.Outbox)
	servicetest.Run(t, p.run)
	ring := newKeyring(away{}, f.kit.Pool, f.kit.Log)
	ring.kept.Store(keys)
	ask := newAsker(func(string) grpc.ClientConnInterface { return away{} }, ring)
	s := &server{pool: f.kit.Pool, placer: p, asker: ask, api: f.kit.API}
	guard := &caller.Guard{}
	return servicetest.Serve(t, func(r chi.Router) { s.routes(r.With(guard.Handler)) })
}

func quoted(token string) string {
	return fmt.Sprintf(`{"payment_token":"tok_success","quote":%q}`, token)
}

func post(api *servicetest.Client, key, body string, header ...string) servicetest.Answer {
	return api.Do(http.MethodPost, "/v1/checkouts", body, append(header, "Idempotency-Key", key)...)
}

// An order by quote is announced with all that the quote says.
func TestPlaceByQuote(t *testing.T) {
	f, s := newFixture(t), newSigner(t, time.Now().Add(time.Hour))
	api, q := f.withoutPrice(t, keysOf(t, s)), newQuote()
	a := post(api, "k1", quoted(s.sign(t, q)))
	var r receipt
	if err := json.Unmarshal([]byte(a.Body), &r); err != nil || a.Status != http.StatusAccepted {
		t.Fatalf("answered %d %s: %v", a.Status, a.Body, err)
	}
	total := events.Money{Amount: 2251, Currency: "GBP"}
	if r.Total != total || r.OrderID != q.ID {
		t.Errorf("receipt %+v, want the quote's id and total", r)
	}
	want := &checkout.OrderCreatedV2{
		OfOrder: events.OfOrder{OrderID: q.ID}, CustomerID: "customer-17850", Total: total, PaymentToken: "tok_success", QuoteID: q.ID, CartID: "cart-1",
		Lines:  []events.Line{{SKU: "71053", Quantity: 1, UnitPrice: 300}, {SKU: "85123A", Quantity: 6, UnitPrice: 255}},
		Extras: events.Extras{Adjustments: []events.Adjustment{{Name: "SPRING10", Amount: -153, Line: 2}}, Shipping: 199, Tax: 375},
	}
	if got := servicetest.Emitted(t, f.kit.Pool)[q.ID]; len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("announced %+v, want %+v", got, want)
	}
	var v view
	if err := json.Unmarshal([]byte(api.Do(http.MethodGet, a.Header.Get("Location"), "").Body), &v); err != nil {
		t.Fatal(err)
	}
	if v.Shipping != 199 || v.Tax != 375 || !slices.Equal(v.Adjustments, want.Adjustments) || v.Total != total {
		t.Errorf("checkout %+v", v)
	}
	servicetest.CheckBooks(t, f.kit.Pool, audit.Books, q.ID, "accepted")
}

func TestQuotesThatAreRefused(t *testing.T) {
	f := newFixture(t)
	good, retired, stranger := newSigner(t, time.Now().Add(time.Hour)), newSigner(t, time.Now().Add(-time.Second)), newSigner(t, time.Now().Add(time.Hour))
	api := f.withoutPrice(t, keysOf(t, good, retired))
	token := good.sign(t, newQuote())
	forged := *good
	_, forged.key.Private, _ = ed25519.GenerateKey(nil) // no error is possible
	expired := newQuote(func(q *price.Quote) {
		q.IssuedAt, q.ExpiresAt = q.IssuedAt.Add(-time.Hour), q.IssuedAt.Add(-time.Minute)
	})
	for _, c := range []struct {
		name, body  string
		status      int
		code, field string
	}{
		{"no token", quoted("x"), 400, "quote_invalid", "quote"},
		{"altered", quoted(token[:40] + flip(token[40]) + token[41:]), 400, "quote_invalid", "quote"},
		{"another signature", quoted(token[:len(token)-30] + flip(token[len(token)-30]) + token[len(token)-29:]), 400, "quote_invalid", "quote"},
		{"signed by another with the key's name", quoted(forged.sign(t, newQuote())), 400, "quote_invalid", "quote"},
		{"signed with a retired key", quoted(retired.sign(t, newQuote())), 409, "quote_key_retired", ""},
		{"signed with a key that nobody knows", quoted(stranger.sign(t, newQuote())), 503, "price_unavailable", ""},
		{"expired", quoted(good.sign(t, expired)), 409, "quote_expired", ""},
		{"another customer's", quoted(good.sign(t, newQuote(func(q *price.Quote) { q.CustomerID = "17851" }))), 403, "quote_of_another", "quote"},
		{"a guest's", quoted(good.sign(t, newQuote(func(q *price.Quote) { q.CustomerID = "" }))), 409, "quote_of_guest", ""},
		{"with a voucher", quoted(good.sign(t, newQuote(func(q *price.Quote) { q.Voucher = "SPRING10" }))), 503, "price_unavailable", ""},
		{"with a list of prices", `{"payment_token":"t","quote":"x","lines":[]}`, 400, "unexpected", "lines"},
		{"with a currency", `{"payment_token":"t","quote":"x","currency":"GBP"}`, 400, "unexpected", "currency"},
		{"without a payment", `{"quote":"x"}`, 400, "malformed", "payment_token"},
		{"for a customer with no name", `{"payment_token":"t","quote":"x","customer_id":"a b"}`, 400, "malformed", "customer_id"},
		{"in the name of another", fmt.Sprintf(`{"payment_token":"t","quote":%q,"customer_id":"17851"}`, token), 403, "not_the_caller", "customer_id"},
		{"an address that is no id", `{"payment_token":"t","quote":"x","address_id":"home"}`, 400, "malformed", "address_id"},
		{"an address in another form", `{"payment_token":"t","quote":"x","address_id":"{01977420-0000-7000-8000-00000000add4}"}`, 400, "malformed", "address_id"},
		{"an address without a quote", `{"payment_token":"t","address_id":"01977420-0000-7000-8000-00000000add4"}`, 400, "unexpected", "address_id"},
		{"to an address that nobody can check", fmt.Sprintf(`{"payment_token":"t","quote":%q,"address_id":"01977420-0000-7000-8000-00000000add4"}`, token), 503, "address_unavailable", ""},
	} {
		a := post(api, uuid.NewString(), c.body, caller.Header, "customer-17850")
		if p := a.Problem(); a.Status != c.status || p.Code != c.code || p.Field != c.field {
			t.Errorf("%s: %d %s, want %d %s %s", c.name, a.Status, a.Body, c.status, c.code, c.field)
		}
		if retry := a.Header.Get("Retry-After"); (a.Status == http.StatusServiceUnavailable) != (retry != "") {
			t.Errorf("%s: %d with Retry-After %q", c.name, a.Status, retry)
		}
	}
	f.checkPlaced(t, 0)
}

// flip returns another letter of base64.
func flip(letter byte) string {
	if letter == 'A' {
		return "B"
	}
	return "A"
}

// Two tabs order one quote: it is one order, also when they ask at the same moment.
func TestOneQuoteIsOneOrder(t *testing.T) {
	f, s := newFixture(t), newSigner(t, time.Now().Add(time.Hour))
	keys := keysOf(t, s)
	tabs := []*servicetest.Client{f.withoutPrice(t, keys), f.withoutPrice(t, keys)}
	const quotes = 20
	for range quotes {
		body := quoted(s.sign(t, newQuote()))
		answers := make([]servicetest.Answer, 2*len(tabs))
		var race sync.WaitGroup
		for i := range answers {
			race.Go(func() { answers[i] = post(tabs[i%len(tabs)], uuid.NewString(), body) })
		}
		race.Wait()
		for _, a := range answers {
			if a.Status != http.StatusAccepted || a.Body != answers[0].Body {
				t.Fatalf("answered %d %s and %d %s, want one order", answers[0].Status, answers[0].Body, a.Status, a.Body)
			}
		}
		other := post(tabs[1], uuid.NewString(), `{"payment_token":"tok_other"`+body[len(`{"payment_token":"tok_success"`):])
		if p := other.Problem(); other.Status != http.StatusConflict || p.Code != "quote_used" {
			t.Errorf("with another card: %d %s", other.Status, other.Body)
		}
	}
	f.checkPlaced(t, quotes)
}

// A request that comes again is answered as before, whatever has become of the quote.
func TestARetryIsAnsweredWithoutPrice(t *testing.T) {
	f, s := newFixture(t), newSigner(t, time.Now().Add(time.Hour))
	body := quoted(s.sign(t, newQuote()))
	first := post(f.withoutPrice(t, keysOf(t, s)), "k", body)
	again := post(f.withoutPrice(t, nil), "k", body) // knows no key any more
	if first.Status != http.StatusAccepted || again.Status != http.StatusAccepted || again.Body != first.Body {
		t.Errorf("answered %d %s, then %d %s", first.Status, first.Body, again.Status, again.Body)
	}
	if other := post(f.withoutPrice(t, keysOf(t, s)), "k", quoted(s.sign(t, newQuote()))); other.Problem().Code != "idempotency_mismatch" {
		t.Errorf("another quote with the key: %d %s", other.Status, other.Body)
	}
	f.checkPlaced(t, 1)
}

func known(t *testing.T, f fixture, ids ...uuid.UUID) []string {
	t.Helper()
	req := &checkoutv1.KnownRequest{}
	for _, id := range ids {
		req.OrderIds = append(req.OrderIds, id.String())
	}
	answer, err := (&orders{pool: f.kit.Pool, log: f.kit.Log}).Known(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return answer.GetOrderIds()
}

// Price is not told what broke, so the log tells it.
func TestWhatBreaksIsLogged(t *testing.T) {
	f := newFixture(t)
	if _, err := pgtest.Owner(t, f.kit.Pool).Exec(t.Context(), `drop table quoted_orders`); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	o := &orders{pool: f.kit.Pool, log: slog.New(slog.NewTextHandler(&log, nil))}
	_, err := o.Known(t.Context(), &checkoutv1.KnownRequest{OrderIds: []string{uuid.NewString()}})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "quoted_orders") || !strings.Contains(log.String(), "quoted_orders") {
		t.Errorf("answered %v, logged %q", err, log.String())
	}
}

// Once price was told that there is no such order, there will be none: its voucher is
// somebody else's by then.
func TestAnOrderThatWasDeniedIsNeverPlaced(t *testing.T) {
	f, s := newFixture(t), newSigner(t, time.Now().Add(time.Hour))
	api := f.withoutPrice(t, keysOf(t, s))
	denied, ordered := newQuote(), newQuote()
	if got := known(t, f, denied.ID); len(got) > 0 {
		t.Fatalf("%v is known before it was ordered", got)
	}
	if a := post(api, "k1", quoted(s.sign(t, denied))); a.Status != http.StatusConflict || a.Problem().Code != "quote_given_up" {
		t.Errorf("a denied order: %d %s", a.Status, a.Body)
	}
	if a := post(api, "k2", quoted(s.sign(t, ordered))); a.Status != http.StatusAccepted {
		t.Errorf("another: %d %s", a.Status, a.Body)
	}
	for range 2 {
		if got := known(t, f, ordered.ID, denied.ID); !slices.Equal(got, []string{ordered.ID.String()}) {
			t.Errorf("known are %v, want %s", got, ordered.ID)
		}
	}
	priced := place(t, api) // has no quote, and is an order all the same
	if got := known(t, f, priced); !slices.Equal(got, []string{priced.String()}) {
		t.Errorf("known are %v, want %s", got, priced)
	}
	f.checkPlaced(t, 2)
}

// Price asks at the moment at which the order is placed: either there is the order, or it
// was denied, and never both.
func TestDeniedWhileItIsPlaced(t *testing.T) {
	f, s := newFixture(t), newSigner(t, time.Now().Add(time.Hour))
	api := f.withoutPrice(t, keysOf(t, s))
	ends := make(map[int]int)
	for range 100 {
		q := newQuote()
		body := quoted(s.sign(t, q))
		var a servicetest.Answer
		var found []string
		var race sync.WaitGroup
		race.Go(func() { a = post(api, uuid.NewString(), body) })
		race.Go(func() { found = known(t, f, q.ID) })
		race.Wait()
		ends[a.Status]++
		if placed := a.Status == http.StatusAccepted; placed != (len(found) == 1) {
			t.Fatalf("answered %d %s, and price was told %v", a.Status, a.Body, found)
		}
	}
	t.Logf("answers: %v", ends)
	if slices.ContainsFunc(slices.Collect(maps.Keys(ends)), func(s int) bool { return s != http.StatusAccepted && s != http.StatusConflict }) {
		t.Errorf("answers: %v", ends)
	}
}

// An order is placed in the transaction that takes its quote: a denial waits for it, and is
// none once that is committed.
func TestADenialWaitsForThePlacement(t *testing.T) {
	f := newFixture(t)
	q := newQuote()
	pl := &placement{paymentToken: "tok_success", checkout: &Checkout{IdempotencyKey: "k", RequestHash: []byte("h"), Status: Placed}}
	pl.checkout.ByQuote(q)
	answered := make(chan []string, 1)
	err := f.kit.Outbox.InTx(t.Context(), func(ctx context.Context, tx *outbox.Tx) error {
		if err := insertAll(ctx, tx, []*placement{pl}); err != nil {
			return err
		}
		go func() { answered <- known(t, f, q.ID) }()
		servicetest.Await(t, "the denial waits", func() bool {
			var waiting bool
			err := f.kit.Pool.QueryRow(ctx, `select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')`).Scan(&waiting)
			return err == nil && waiting
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := <-answered; !slices.Equal(got, []string{q.ID.String()}) {
		t.Errorf("price was told %v of an order that was just placed", got)
	}
	f.checkPlaced(t, 1)
}

// A quote is free again when its request turns out to repeat another's key.
func TestAQuoteIsNotUsedUpByAKeyThatWasUsed(t *testing.T) {
	f, s := newFixture(t), newSigner(t, time.Now().Add(time.Hour))
	api := f.withoutPrice(t, keysOf(t, s))
	p := newPlacer(f.kit.Pool, f.kit.Outbox)
	servicetest.Run(t, p.run)
	if a := post(api, "k", quoted(s.sign(t, newQuote()))); a.Status != http.StatusAccepted {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	q := newQuote()
	late := &placement{paymentToken: "tok_success", checkout: &Checkout{IdempotencyKey: "k", RequestHash: []byte("h"), Status: Placed}}
	late.checkout.ByQuote(q)
	if _, err := p.place(t.Context(), late); err == nil {
		t.Error("a key was used for two orders")
	}
	if a := post(api, "k2", quoted(s.sign(t, q))); a.Status != http.StatusAccepted {
		t.Errorf("the quote with a key of its own: %d %s", a.Status, a.Body)
	}
	f.checkPlaced(t, 2)
}

// Whatever a quote says, the order costs that, part by part.
func TestAnOrderCostsWhatItsQuoteSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := drawQuote(t)
		if err := q.Validate(); err != nil {
			t.Fatalf("drew no quote: %v", err)
		}
		c := &Checkout{Status: Placed}
		c.ByQuote(q)
		e, ok := c.Created("tok_success").(*checkout.OrderCreatedV2)
		if !ok || e.Total != q.Money() || e.QuoteID != q.ID || e.OrderID != q.ID {
			t.Fatalf("announced %+v, of the quote %+v", e, q)
		}
		if err := e.Validate(); err != nil {
			t.Fatalf("cannot be announced: %v", err)
		}
	})
}

func drawQuote(t *rapid.T) *price.Quote {
	q := newQuote(func(q *price.Quote) {
		q.Lines, q.Adjustments = nil, nil
		q.Shipping = rapid.Int64Range(0, 10_000).Draw(t, "shipping")
		q.Total, q.Tax = q.Shipping, rapid.Int64Range(0, 1000).Draw(t, "tax of shipping")
	})
	off := make(map[string]int64)
	for i := range rapid.IntRange(1, 6).Draw(t, "lines") {
		l := price.Line{SKU: fmt.Sprint("sku-", i), Quantity: rapid.Int64Range(1, events.MaxQuantity).Draw(t, "quantity")}
		l.UnitPrice = rapid.Int64Range(0, events.MaxUnitPrice).Draw(t, "unit price")
		l.ListPrice, l.Total = l.UnitPrice, l.Quantity*l.UnitPrice
		for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"A", "B", "C"}), 0, 3).Draw(t, "discounts") {
			if l.Total == 0 {
				break
			}
			amount := -rapid.Int64Range(1, l.Total).Draw(t, "discount")
			l.Adjustments = append(l.Adjustments, price.Adjustment{Name: name, Amount: amount})
			off[name] += amount
			l.Total += amount
		}
		l.Tax = rapid.Int64Range(0, l.Total/4).Draw(t, "tax")
		q.Lines, q.Total, q.Tax = append(q.Lines, l), q.Total+l.Total, q.Tax+l.Tax
	}
	for _, name := range slices.Sorted(maps.Keys(off)) {
		q.Adjustments = append(q.Adjustments, price.Adjustment{Name: name, Amount: off[name]})
	}
	q.Total += q.Tax
	return q
}
