package checkout

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/events"
	"quadrille.internal/events/price"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/idempotency"
	"quadrille.internal/platform/quote"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/telemetry"
)

type server struct {
	pool   *pgxpool.Pool
	placer *placer
	asker  *asker
	api    rest.API
}

func (s *server) routes(r chi.Router) {
	r.Post("/v1/checkouts", s.api.Handle(s.post))
	r.Get("/v1/checkouts/{id}", s.api.Handle(s.get))
}

// request is a checkout as the customer sends it: of a quote, or, for who may name
// prices, of lines, whose prices are in minor units of the currency.
type request struct {
	PaymentToken string `json:"payment_token"`
	// CustomerID may be missing with a quote, which has it.
	CustomerID string `json:"customer_id"`

	// Quote is a token of price.
	Quote     string `json:"quote"`
	AddressID string `json:"address_id"`

	Currency string        `json:"currency"`
	Lines    []events.Line `json:"lines"`
}

func (req *request) validate() error {
	if req.Quote != "" {
		return req.validateQuoted()
	}
	if req.AddressID != "" {
		return fault.Field("address_id", "unexpected", "address_id goes with a quote.")
	}
	if !events.ValidCurrency(req.Currency) {
		return fault.Field("currency", "malformed", "A currency is an ISO 4217 code, such as GBP.")
	}
	// The first fault is told.
	return cmp.Or(events.CheckName("customer_id", req.CustomerID), events.CheckName("payment_token", req.PaymentToken), events.CheckLines(req.Lines))
}

func (req *request) validateQuoted() error {
	if req.Lines != nil {
		return fault.Field("lines", "unexpected", "The quote has the lines.")
	}
	if req.Currency != "" {
		return fault.Field("currency", "unexpected", "The quote has the currency.")
	}
	if req.CustomerID != "" {
		if err := events.CheckName("customer_id", req.CustomerID); err != nil {
			return err
		}
	}
	return events.CheckName("payment_token", req.PaymentToken)
}

// address is where the order goes, or nil where that is not said.
func (req *request) address() (*uuid.UUID, error) {
	if req.AddressID == "" {
		return nil, nil //nolint:nilnil // it need not be said
	}
	id, err := uuid.Parse(req.AddressID)
	if err != nil || id.String() != strings.ToLower(req.AddressID) {
		return nil, fault.Field("address_id", "malformed", "An address id is a UUID.")
	}
	return &id, nil
}

// receipt is the answer to a checkout. It holds nothing that changes, so that a
// repeated request gets the same.
type receipt struct {
	ID       uuid.UUID    `json:"id"`
	OrderID  uuid.UUID    `json:"order_id"`
	Total    events.Money `json:"total"`
	PlacedAt time.Time    `json:"placed_at"`
}

func (s *server) post(w http.ResponseWriter, r *http.Request) error {
	key, err := idempotency.Key(r)
	if err != nil {
		return err
	}
	var req request
	body, err := rest.Decode(w, r, &req)
	if err != nil {
		return err
	}
	if err := req.validate(); err != nil {
		return err
	}
	address, err := req.address()
	if err != nil {
		return err
	}
	pl := &placement{paymentToken: req.PaymentToken, checkout: &Checkout{
		IdempotencyKey: key, RequestHash: idempotency.HashOf(body),
		TraceParent: telemetry.TraceParent(r.Context()), Status: Placed, AddressID: address,
	}}
	var c *Checkout
	if req.Quote == "" {
		c, err = s.placePriced(r.Context(), pl, &req)
	} else {
		c, err = s.placeQuoted(r.Context(), pl, &req)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/checkouts/"+c.ID.String())
	return rest.Write(w, http.StatusAccepted, receipt{
		ID: c.ID, OrderID: c.ID, Total: events.Money{Amount: c.Amount, Currency: c.Currency}, PlacedAt: c.PlacedAt,
	})
}

// placePriced places an order at prices that its caller names.
func (s *server) placePriced(ctx context.Context, pl *placement, req *request) (*Checkout, error) {
	if err := caller.CheckIs(ctx, "customer_id", req.CustomerID); err != nil {
		return nil, err
	}
	if !caller.Has(ctx, caller.ScopePrices) {
		return nil, fault.New(fault.Forbidden, "quote_required", "Send the quote of a cart: naming prices needs the scope %s.", caller.ScopePrices)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("new checkout id: %w", err)
	}
	c := pl.checkout
	c.Row = aggregate.Row{ID: id, Version: 1}
	c.CustomerID, c.Lines, c.Amount, c.Currency = req.CustomerID, req.Lines, events.Total(req.Lines), req.Currency
	return s.placer.place(ctx, pl)
}

// placeQuoted places an order of a quote. What was placed before is answered without
// asking anybody, also once the quote is not valid any more.
func (s *server) placeQuoted(ctx context.Context, pl *placement, req *request) (*Checkout, error) {
	claimed, err := quote.Read(req.Quote)
	if err != nil {
		return nil, quoteInvalid(err)
	}
	if err := checkOwner(ctx, req, claimed); err != nil {
		return nil, err
	}
	pl.checkout.ByQuote(claimed)
	if c, err := s.placer.earlier(ctx, pl); c != nil || err != nil {
		return c, err
	}
	q, err := s.asker.ask(ctx, req.Quote, pl.checkout.AddressID)
	if err != nil {
		return nil, err
	}
	pl.checkout.ByQuote(q)
	return s.placer.place(ctx, pl)
}

// checkOwner checks that a quote is the caller's, and that of the customer whom the
// request names, if it does.
func checkOwner(ctx context.Context, req *request, q *price.Quote) error {
	if req.CustomerID != "" {
		if err := caller.CheckIs(ctx, "customer_id", req.CustomerID); err != nil {
			return err
		}
	}
	if q.CustomerID != "" && (!caller.Is(ctx, q.CustomerID) || req.CustomerID != "" && req.CustomerID != q.CustomerID) {
		f := fault.New(fault.Forbidden, "quote_of_another", "The quote is another customer's: have your own cart quoted.")
		f.Field = "quote"
		return f
	}
	return nil
}

// view is a checkout as callers see it.
type view struct {
	ID         uuid.UUID      `json:"id"`
	OrderID    uuid.UUID      `json:"order_id"`
	CustomerID string         `json:"customer_id"`
	Status     Status         `json:"status"`
	Reason     *events.Reason `json:"reason,omitempty"`
	Total      events.Money   `json:"total"`
	Lines      []events.Line  `json:"lines"`

	Adjustments []events.Adjustment `json:"adjustments,omitempty"`
	Shipping    int64               `json:"shipping,omitempty"`
	Tax         int64               `json:"tax,omitempty"`
	AddressID   *uuid.UUID          `json:"address_id,omitempty"`

	PlacedAt  time.Time  `json:"placed_at"`
	SettledAt *time.Time `json:"settled_at,omitempty"`
}

func (s *server) get(w http.ResponseWriter, r *http.Request) error {
	id, err := rest.PathID(r, "A checkout id is a UUID.")
	if err != nil {
		return err
	}
	found, err := checkouts.Load(r.Context(), s.pool, []uuid.UUID{id})
	if err != nil {
		return err
	}
	c := found[id]
	if c == nil || !caller.Is(r.Context(), c.CustomerID) { // others' are not even admitted to exist
		return fault.New(fault.NotFound, "checkout_not_found", "There is no such checkout.")
	}
	v := view{
		ID: c.ID, OrderID: c.ID, CustomerID: c.CustomerID, Status: c.Status, Reason: c.Reason,
		Total: events.Money{Amount: c.Amount, Currency: c.Currency}, Lines: c.Lines,
		AddressID: c.AddressID, PlacedAt: c.PlacedAt, SettledAt: c.SettledAt,
	}
	if c.Quote != nil {
		x := extrasOf(c.Quote)
		v.Adjustments, v.Shipping, v.Tax = x.Adjustments, x.Shipping, x.Tax
	}
	return rest.Write(w, http.StatusOK, v)
}
