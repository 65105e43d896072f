// Package api is a typed client of Quadrille's HTTP APIs: the public ones of
// checkout, order, inventory and b2b, and the admin ports of all services.
package api

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/platform/caller"
)

// URLs are where the services' public APIs are, and the admin ports of those that
// have routes for operators.
type URLs struct {
	Checkout, Order, B2B Access // public

	InventoryAdmin, OrderAdmin, B2BAdmin Access
	// IdentityAdmin is where callers' access tokens come from. Without it, as the zero
	// value, an edge is taken to stand in front of the services.
	IdentityAdmin Access
}

// Access is a port of a service, and the token that it wants if it is an admin port.
type Access struct {
	URL, Token string
	// Login, unless nil, gives the access token that is sent in place of Token.
	Login *Login
	// Err is why these are not known, or nil. Every call returns it.
	Err error
}

func (a Access) request(method, path string) request {
	r := request{method: method, url: strings.TrimSuffix(a.URL, "/") + path, header: make(map[string]string), login: a.Login, err: a.Err}
	if a.Token != "" && a.Login == nil {
		r.header["Authorization"] = "Bearer " + a.Token
	}
	return r
}

// with adds to a request's header.
func (r request) with(header map[string]string) request {
	maps.Copy(r.header, header)
	return r
}

// Client calls the public APIs in the name of customers and managers: with an access token
// that identity gives to operators, or, where there is no identity, as the edge does. What
// an operator may do for anybody goes to the admin ports. Every call may be repeated: what changes
// something carries its own identity.
type Client struct {
	urls   URLs
	sender sender
	tokens tokens
}

// New returns a client. retryFor is how long a call is repeated while a service is
// overloaded or away; 0 makes one attempt.
func New(urls URLs, retryFor time.Duration) *Client {
	return &Client{urls: urls, sender: newSender(retryFor)}
}

// Close ends the client's idle connections.
func (c *Client) Close() { c.sender.http.CloseIdleConnections() }

// NewOrder is what a customer wants to buy: what a quote says, or lines.
type NewOrder struct {
	CustomerID   string        `json:"customer_id,omitempty"`
	Currency     string        `json:"currency,omitempty"`
	PaymentToken string        `json:"payment_token"`
	Lines        []events.Line `json:"lines,omitempty"`
	// Quote is a token of price, whose customer is CustomerID.
	Quote     string `json:"quote,omitempty"`
	AddressID string `json:"address_id,omitempty"`
}

// Receipt is the answer to a placed order, and again the same to a repetition.
type Receipt struct {
	OrderID  uuid.UUID    `json:"order_id"`
	Total    events.Money `json:"total"`
	PlacedAt time.Time    `json:"placed_at"`
}

// Place places an order. The same idempotency key never places two.
func (c *Client) Place(ctx context.Context, key string, o NewOrder) (Receipt, error) {
	by := caller.Caller{ID: o.CustomerID, Scopes: []string{caller.ScopePrices}}
	r := c.as(ctx, by, c.urls.Checkout.request(http.MethodPost, "/v1/checkouts").with(map[string]string{"Idempotency-Key": key}))
	r.body = o
	return call[Receipt](ctx, c.sender, r)
}

// Order is an order with what has happened to it.
type Order struct {
	ID         uuid.UUID      `json:"id"`
	Status     string         `json:"status"`
	Reason     *events.Reason `json:"reason,omitempty"`
	WaitsFor   string         `json:"waits_for,omitempty"`
	CustomerID string         `json:"customer_id,omitempty"`
	Total      events.Money   `json:"total"`
	Lines      []events.Line  `json:"lines"`
	Timeline   []Moment       `json:"timeline"`
}

// Moment is one fact of an order, by the event that told it.
type Moment struct {
	Event string    `json:"event"`
	At    time.Time `json:"at"`
}

// Order returns one order. One just placed may not be known for a moment.
func (c *Client) Order(ctx context.Context, id uuid.UUID) (Order, error) {
	return call[Order](ctx, c.sender, c.urls.OrderAdmin.request(http.MethodGet, "/v1/orders/"+id.String()))
}

// Cancel asks for an order to be cancelled and returns what came of it.
func (c *Client) Cancel(ctx context.Context, id uuid.UUID) (Order, error) {
	return call[Order](ctx, c.sender, c.urls.OrderAdmin.request(http.MethodPost, "/v1/orders/"+id.String()+"/cancel"))
}

const pageSize = 200

// Orders returns a customer's newest orders, up to limit.
func (c *Client) Orders(ctx context.Context, customer string, limit int) ([]Order, error) {
	var all []Order
	query := url.Values{"customer_id": {customer}}
	for len(all) < limit {
		query.Set("limit", strconv.Itoa(min(pageSize, limit-len(all))))
		page, err := call[struct {
			Orders []Order `json:"orders"`
			Next   string  `json:"next_cursor"`
		}](ctx, c.sender, c.as(ctx, caller.Caller{ID: customer}, c.urls.Order.request(http.MethodGet, "/v1/orders?"+query.Encode())))
		if err != nil {
			return nil, err
		}
		all = append(all, page.Orders...)
		if page.Next == "" {
			break
		}
		query.Set("cursor", page.Next)
	}
	return all, nil
}

// Stock is a SKU's stock in all warehouses, in units.
type Stock struct {
	SKU        string      `json:"sku"`
	Version    string      `json:"version"` // of what lies there; what orders hold is no part of it
	Available  int64       `json:"available"`
	Warehouses []Warehouse `json:"warehouses"`
}

// Warehouse is a SKU's stock in one warehouse. Held of OnHand belongs to orders
// that are not settled; Available is the rest.
type Warehouse struct {
	Warehouse string `json:"warehouse"`
	OnHand    int64  `json:"on_hand"`
	Held      int64  `json:"held"`
	Available int64  `json:"available"`
}

// Count is what lies in one warehouse.
type Count struct {
	Warehouse string `json:"warehouse"`
	OnHand    int64  `json:"on_hand"`
}

// Stock returns a SKU's stock.
func (c *Client) Stock(ctx context.Context, sku string) (Stock, error) {
	return call[Stock](ctx, c.sender, c.urls.InventoryAdmin.request(http.MethodGet, stockPath(sku)))
}

// SetStock sets what lies in some warehouses, as it was counted when the stock was
// read; the others stay as they are. read is that stock, or the zero Stock where there
// was none. If goods moved since, the problem is stock_moved or stock_exists.
func (c *Client) SetStock(ctx context.Context, sku string, counts []Count, read Stock) (Stock, error) {
	r := c.urls.InventoryAdmin.request(http.MethodPut, stockPath(sku))
	if read.Version == "" {
		r.header["If-None-Match"] = "*"
	} else {
		r.header["If-Match"] = `"` + read.Version + `"`
	}
	r.body = map[string]any{"warehouses": counts}
	return call[Stock](ctx, c.sender, r)
}

// forceTries bounds ForceStock.
const forceTries = 10

// ForceStock sets what lies in some warehouses whatever moves meanwhile. Where nobody
// counted, as in a demonstration, there is nothing that could be wrong.
func (c *Client) ForceStock(ctx context.Context, sku string, counts []Count) (set Stock, err error) {
	for range forceTries {
		var read Stock
		read, err = c.Stock(ctx, sku)
		if err != nil && !IsProblem(err, "sku_not_found") {
			return read, err
		}
		set, err = c.SetStock(ctx, sku, counts, read)
		if !IsProblem(err, "stock_moved") && !IsProblem(err, "stock_exists") {
			return set, err
		}
	}
	return set, err
}

// Delta is what comes into a warehouse, or goes out of it.
type Delta struct {
	Warehouse string `json:"warehouse"`
	Delta     int64  `json:"delta"`
}

// AdjustStock adds to what lies in some warehouses. The same idempotency key never
// adds twice.
func (c *Client) AdjustStock(ctx context.Context, sku, key, reason string, deltas []Delta) (Stock, error) {
	r := c.urls.InventoryAdmin.request(http.MethodPost, stockPath(sku)+"/adjustments")
	r.header["Idempotency-Key"] = key
	r.body = map[string]any{"reason": reason, "warehouses": deltas}
	return call[Stock](ctx, c.sender, r)
}

func stockPath(sku string) string { return "/v1/stock/" + url.PathEscape(sku) }
