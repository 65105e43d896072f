// Package visit plays customers' visits to the shop: through the gateway, as a browser
// does. The demonstration, the benchmark and the end-to-end tests use it.
package visit

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/price"
)

const (
	// callTimeout is for a shop that has hung up: it answers sooner, or refuses, but on a machine
	// that also runs tests it may be late.
	callTimeout = time.Minute
	// idleTimeout is less than a replica that stops works on for: no request meets its end.
	idleTimeout = 2 * time.Second
)

// What the customers of visits pay in, and where they live.
const (
	Currency = "GBP"
	Region   = "GB"
)

// Shop is where the gateway is, and where customers read their mail.
type Shop struct {
	gateway string
	mailbox Mailbox
	http    *http.Client
	// streams has no time-out: a stream ends with its context.
	streams *http.Client
	// mail is not observed: it is no part of the shop.
	mail *http.Client
}

// NewShop returns the shop behind a gateway.
func NewShop(gateway string, mailbox Mailbox) *Shop {
	connections := &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: idleTimeout}
	return &Shop{
		gateway: strings.TrimSuffix(gateway, "/"), mailbox: mailbox,
		http:    &http.Client{Timeout: callTimeout, Transport: connections},
		streams: &http.Client{Transport: connections},
		mail:    &http.Client{Timeout: callTimeout, Transport: connections},
	}
}

// Observe has each request told of, with how long its answer took. It is called before the
// first request.
func (s *Shop) Observe(told func(r *http.Request, took time.Duration)) {
	s.http.Transport = observed{s.http.Transport, told}
}

type observed struct {
	http.RoundTripper
	told func(*http.Request, time.Duration)
}

func (o observed) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	res, err := o.RoundTripper.RoundTrip(r)
	o.told(r, time.Since(began))
	return res, err
}

// From returns the shop as it is for somebody at another address. The gateway believes that
// where the caller is one of its QUADRILLE_TRUSTED_PROXIES.
func (s *Shop) From(address string) *Shop {
	at := func(c *http.Client) *http.Client {
		return &http.Client{Timeout: c.Timeout, Transport: from{c.Transport, address}}
	}
	other := *s
	other.http, other.streams = at(s.http), at(s.streams)
	return &other
}

type from struct {
	http.RoundTripper
	address string
}

func (f from) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Forwarded-For", f.address)
	return f.RoundTripper.RoundTrip(r)
}

// Close ends idle connections.
func (s *Shop) Close() { s.http.CloseIdleConnections() }

// Customer is somebody who signed in.
type Customer struct {
	shop *Shop
	// ID is the account's.
	ID string
	// session holds the tokens of now: an access token lives five minutes.
	session         tokens
	email, password string
}

// request is one that ask sends as the customer.
func (c *Customer) request(method, path string, body any, header ...string) request {
	r := request{method: method, url: c.shop.gateway + path, body: body, header: make(map[string]string)}
	for i := 0; i+1 < len(header); i += 2 {
		r.header[header[i]] = header[i+1]
	}
	return r
}

// Hit is a product that was found.
type Hit struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	SKUs    []string `json:"skus"`
	InStock bool     `json:"in_stock"`
}

// Search finds products by words.
func (c *Customer) Search(ctx context.Context, words string) ([]Hit, error) {
	page, err := ask[struct {
		Hits []Hit `json:"hits"`
	}](ctx, c, c.request(http.MethodGet, "/v1/search?q="+url.QueryEscape(words), nil))
	if err != nil {
		return nil, fmt.Errorf("search for %q: %w", words, err)
	}
	return page.Hits, nil
}

// Price asks what SKUs cost the customer.
func (c *Customer) Price(ctx context.Context, sku string) error {
	_, err := ask[any](ctx, c, c.request(http.MethodGet, "/v1/prices?currency="+Currency+"&sku="+url.QueryEscape(sku), nil))
	if err != nil {
		return fmt.Errorf("ask for the price of %s: %w", sku, err)
	}
	return nil
}

// Cart is what a customer has in the cart.
type Cart struct {
	ID    uuid.UUID `json:"id"`
	Lines []struct {
		SKU      string `json:"sku"`
		Quantity int64  `json:"quantity"`
		Ordering int64  `json:"ordering"`
	} `json:"lines"`
}

// Cart returns the customer's cart.
func (c *Customer) Cart(ctx context.Context) (Cart, error) {
	cart, err := ask[Cart](ctx, c, c.request(http.MethodPost, "/v1/carts", nil))
	if err != nil {
		return cart, fmt.Errorf("open the cart: %w", err)
	}
	return cart, nil
}

// Put has the cart hold so much of a SKU.
func (c *Customer) Put(ctx context.Context, cart uuid.UUID, sku string, quantity int64) error {
	path := "/v1/carts/" + cart.String() + "/lines/" + url.PathEscape(sku)
	if _, err := ask[Cart](ctx, c, c.request(http.MethodPut, path, map[string]int64{"quantity": quantity})); err != nil {
		return fmt.Errorf("put %s into the cart: %w", sku, err)
	}
	return nil
}

// Live at an address, whose id is chosen here.
func (c *Customer) Live(ctx context.Context, address map[string]any) (uuid.UUID, error) {
	id := uuid.New()
	path := "/v1/customers/" + c.ID + "/addresses/" + id.String()
	if _, err := ask[struct{}](ctx, c, c.request(http.MethodPut, path, address)); err != nil {
		return id, fmt.Errorf("give an address: %w", err)
	}
	return id, nil
}

// Quote is what a cart costs now.
type Quote struct {
	Token string      `json:"token"`
	Price price.Quote `json:"quote"`
	// Prices is "quoted", or why there is no quote.
	Prices  string `json:"prices"`
	Refusal struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"refusal"`
}

// Quote asks what a cart costs in pounds, sent to Great Britain.
func (c *Customer) Quote(ctx context.Context, cart uuid.UUID, voucher string) (Quote, error) {
	q, err := ask[Quote](ctx, c, c.request(http.MethodPost, "/v1/carts/"+cart.String()+"/quote", map[string]string{
		"currency": Currency, "region": Region, "voucher": voucher,
	}))
	switch {
	case err != nil:
		return q, fmt.Errorf("ask for a quote: %w", err)
	case q.Prices != "quoted":
		return q, fmt.Errorf("there is no quote, prices are %s: %s (%s)", q.Prices, q.Refusal.Message, q.Refusal.Code)
	default:
		return q, nil
	}
}

// Order is one that was placed.
type Order struct {
	ID    uuid.UUID    `json:"order_id"`
	Total events.Money `json:"total"`
}

// Order buys what a quote says. The same key never buys twice.
func (c *Customer) Order(ctx context.Context, key, quote, paymentToken string, address uuid.UUID) (Order, error) {
	order, err := ask[Order](ctx, c, c.request(http.MethodPost, "/v1/checkouts", map[string]any{
		"quote": quote, "payment_token": paymentToken, "address_id": address,
	}, "Idempotency-Key", key))
	if err != nil {
		return order, fmt.Errorf("order: %w", err)
	}
	return order, nil
}

// lookEvery is how often a customer looks at an order that is not settled.
const lookEvery = 50 * time.Millisecond

// Look shows an order to the customer.
func (c *Customer) Look(ctx context.Context, order uuid.UUID) error {
	_, err := ask[any](ctx, c, c.request(http.MethodGet, "/v1/checkouts/"+order.String(), nil))
	if err != nil {
		return fmt.Errorf("look at order %s: %w", order, err)
	}
	return nil
}

// Settled waits until an order has ended, and returns how.
func (c *Customer) Settled(ctx context.Context, order uuid.UUID) (status string, err error) {
	for {
		view, err := ask[struct {
			Status string `json:"status"`
		}](ctx, c, c.request(http.MethodGet, "/v1/checkouts/"+order.String(), nil))
		if err != nil {
			return "", fmt.Errorf("look at order %s: %w", order, err)
		}
		if view.Status != "placed" {
			return view.Status, nil
		}
		select {
		case <-ctx.Done():
			return view.Status, fmt.Errorf("order %s is not settled: %w", order, ctx.Err())
		case <-time.After(lookEvery):
		}
	}
}

// Home is an address of a customer.
var Home = map[string]any{
	"recipient": "Ann Example", "lines": []string{"1 High Street"}, "city": "London", "postal_code": "SW1A 1AA", "country": "GB",
}
