package cart

import (
	"context"
	"crypto/ed25519"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quadrille.internal/events"
	"quadrille.internal/events/catalog"
	"quadrille.internal/events/price"
	pricev1 "quadrille.internal/events/proto/price/v1"
	"quadrille.internal/platform/quote"
	"quadrille.internal/platform/servicetest"
)

// pricing answers quotes as a test says, and notes what it was asked.
type pricing struct {
	pricev1.UnimplementedPricesServer
	answer func(*pricev1.QuoteRequest) (*pricev1.QuoteResponse, error)
	asked  chan *pricev1.QuoteRequest
}

func (p *pricing) Quote(_ context.Context, req *pricev1.QuoteRequest) (*pricev1.QuoteResponse, error) {
	p.asked <- req
	return p.answer(req)
}

// price serves a scripted price to the fixture.
func (f *fixture) price(t *testing.T) *pricing {
	t.Helper()
	p := &pricing{asked: make(chan *pricev1.QuoteRequest, 10)}
	f.prices = pricev1.NewPricesClient(servicetest.ServeCalls(t, func(r grpc.ServiceRegistrar) { pricev1.RegisterPricesServer(r, p) }))
	return p
}

// signed is a quote of one line at 100 apiece.
func signed(t *testing.T, req *pricev1.QuoteRequest) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	l := req.GetLines()[0]
	total := 100 * l.GetQuantity()
	at := time.Now().UTC().Truncate(time.Microsecond)
	token, err := quote.Sign(quote.Key{ID: "k", Private: private, Until: at.Add(time.Hour)}, &price.Quote{
		ID: uuid.New(), Version: 1, CustomerID: req.GetCustomerId(), CartID: req.GetCartId(), Currency: req.GetCurrency(),
		Lines: []price.Line{{SKU: l.GetSku(), Quantity: l.GetQuantity(), ListPrice: 100, UnitPrice: 100, Total: total}}, Total: total,
		IssuedAt: at, ExpiresAt: at.Add(15 * time.Minute),
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (s *shopper) quote(body string) servicetest.Answer { return s.do(http.MethodPost, "/quote", body) }

// What a cart costs is asked when it is wanted, of what is in it then and is not being
// ordered: no total can be old, and nobody orders the same twice.
func TestQuote(t *testing.T) {
	f := newFixture(t)
	p := f.price(t)
	p.answer = func(req *pricev1.QuoteRequest) (*pricev1.QuoteResponse, error) {
		return &pricev1.QuoteResponse{Token: signed(t, req)}, nil
	}
	in, s := servicetest.RunInbox(t, f.kit, handle), f.customer(t, f.serve(t), "c1")
	if a := s.quote(`{"currency": "GBP"}`); a.Status != http.StatusConflict || a.Problem().Code != "nothing_to_order" {
		t.Errorf("an empty cart: %d %s", a.Status, a.Body)
	}
	for _, n := range []string{"2", "5"} {
		s.put("a", n)
		v := decoded[quotedView](t, s.quote(`{"currency": "GBP", "voucher": "SPRING", "region": "GB"}`), http.StatusOK)
		req := <-p.asked
		if v.Prices != Quoted || v.Token == "" || v.Quote.Total != 100*v.Cart.Lines[0].Quantity {
			t.Errorf("the quote of %s is %+v", n, v)
		}
		if req.GetCustomerId() != "c1" || req.GetCartId() != s.id || req.GetVoucher() != "SPRING" || req.GetRegion() != "GB" {
			t.Errorf("price was asked %v", req)
		}
	}
	id := uuid.New()
	in.Deliver(servicetest.Message(t, created(id, s.id, Line{SKU: "a", Quantity: 4}), epoch))
	decoded[quotedView](t, s.quote(`{"currency": "GBP"}`), http.StatusOK)
	if req := <-p.asked; len(req.GetLines()) != 1 || req.GetLines()[0].GetQuantity() != 1 {
		t.Errorf("with 4 of 5 being ordered price was asked %v", req)
	}
	s.put("a", "4")
	if a := s.quote(`{"currency": "GBP"}`); a.Status != http.StatusConflict || a.Problem().Code != "nothing_to_order" {
		t.Errorf("a cart that is being ordered: %d %s", a.Status, a.Body)
	}
	in.Deliver(servicetest.Message(t, cancelled(id), epoch))
	if v := decoded[quotedView](t, s.quote(`{"currency": "GBP"}`), http.StatusOK); v.Quote == nil || v.Quote.Total != 400 {
		t.Errorf("once its order is cancelled the cart is quoted %+v", v)
	}
}

// Price refuses, fails, or answers what is no quote: the cart is shown, with what is known.
func TestQuoteWithoutPrices(t *testing.T) {
	f := newFixture(t)
	p := f.price(t)
	s := f.guest(t, f.serve(t))
	s.put("a", "2")
	for name, c := range map[string]struct {
		answer *pricev1.QuoteResponse
		err    error
		want   Prices
	}{
		"refused":    {&pricev1.QuoteResponse{Refusal: &pricev1.Refusal{Code: "voucher_used_up", Message: "It is used up."}}, nil, Refused},
		"away":       {nil, status.Error(codes.Unavailable, "away"), Unknown},
		"no quote":   {&pricev1.QuoteResponse{Token: "x"}, nil, Unknown},
		"no request": {nil, status.Error(codes.InvalidArgument, "?"), Unknown},
	} {
		p.answer = func(*pricev1.QuoteRequest) (*pricev1.QuoteResponse, error) { return c.answer, c.err }
		v := decoded[quotedView](t, s.quote(`{"currency": "GBP"}`), http.StatusOK)
		if v.Prices != c.want || v.Quote != nil || v.Token != "" || len(v.Cart.Lines) != 1 || (v.Refusal != nil) != (c.want == Refused) {
			t.Errorf("%s: %+v", name, v)
		}
	}
	for body, field := range map[string]string{
		`{}`: "currency", `{"currency": "pounds"}`: "currency", `{"currency": "ZZZ"}`: "currency", `{"currency": "GBP", "region": "Leeds"}`: "region", `{"currency": "GBP", "voucher": "a b"}`: "voucher",
	} {
		if a := s.quote(body); a.Status != http.StatusBadRequest || a.Problem().Field != field {
			t.Errorf("%s: %d %s", body, a.Status, a.Body)
		}
	}
}

// A product is retired while it is in carts: they show it and are not quoted with it. An
// older event that comes late changes nothing.
func TestAProductIsRetired(t *testing.T) {
	f := newFixture(t)
	f.price(t)
	in, s := servicetest.RunInbox(t, f.kit, handle), f.guest(t, f.serve(t))
	s.put("mug-red", "1")
	s.put("tea", "1")
	sold := func(version int64) *catalog.ProductUpdated {
		return &catalog.ProductUpdated{ProductID: "mug", Version: version, Title: "Mug", Variants: []catalog.Variant{{SKU: "mug-red"}}, PublishedAt: epoch}
	}
	for n, c := range []struct {
		tell events.Event
		want []string
	}{
		{sold(3), nil},
		{&catalog.ProductRetired{ProductID: "mug", Version: 5, SKUs: []string{"mug-blue", "mug-red"}, RetiredAt: epoch}, []string{"mug-red"}},
		{sold(4), []string{"mug-red"}},
		{sold(6), nil},
	} {
		in.Deliver(servicetest.Message(t, c.tell, epoch))
		var retired []string
		for _, l := range decoded[view](t, s.do(http.MethodGet, "", ""), http.StatusOK).Lines {
			if l.Retired {
				retired = append(retired, l.SKU)
			}
		}
		if !slices.Equal(retired, c.want) {
			t.Errorf("step %d: the cart shows as retired %v, want %v", n, retired, c.want)
		}
		if c.want == nil {
			continue
		}
		v := decoded[quotedView](t, s.quote(`{"currency": "GBP"}`), http.StatusOK)
		if v.Prices != Refused || v.Refusal.Code != "product_retired" || !slices.Equal(v.Refusal.SKUs, c.want) {
			t.Errorf("step %d: quoted %+v", n, v)
		}
	}
}
