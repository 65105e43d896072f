package main

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/events"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/telemetry"
)

const requestTimeout = 5 * time.Second

type server struct {
	pool   *pgxpool.Pool
	placer *placer
	api    rest.API
}

func (s *server) routes(r chi.Router) {
	r.Post("/v1/checkouts", s.api.Handle(s.post))
	r.Get("/v1/checkouts/{id}", s.api.Handle(s.get))
}

// request is a checkout as the customer sends it. Prices are in minor units of
// the currency; until there is a pricing service, the caller quotes them.
type request struct {
	CustomerID   string        `json:"customer_id"`
	Currency     string        `json:"currency"`
	PaymentToken string        `json:"payment_token"`
	Lines        []events.Line `json:"lines"`
}

var (
	keyPattern  = regexp.MustCompile(`^[\x21-\x7e]{1,255}$`)
	namePattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
)

func (req *request) validate() error {
	switch {
	case !namePattern.MatchString(req.CustomerID):
		return fault.Field("customer_id", "malformed", "A customer id is 1 to 64 of A-Z a-z 0-9 . _ -.")
	case !events.ValidCurrency(req.Currency):
		return fault.Field("currency", "malformed", "A currency is an ISO 4217 code, such as GBP.")
	case !namePattern.MatchString(req.PaymentToken):
		return fault.Field("payment_token", "malformed", "A payment token is 1 to 64 of A-Z a-z 0-9 . _ -.")
	case len(req.Lines) == 0 || len(req.Lines) > events.MaxLines:
		return fault.Field("lines", "out_of_range", "An order has 1 to %d lines.", events.MaxLines)
	}
	for i, l := range req.Lines {
		field := fmt.Sprintf("lines[%d].", i)
		switch {
		case !namePattern.MatchString(l.SKU):
			return fault.Field(field+"sku", "malformed", "A SKU is 1 to 64 of A-Z a-z 0-9 . _ -.")
		case l.Quantity < 1 || l.Quantity > events.MaxQuantity:
			return fault.Field(field+"quantity", "out_of_range", "quantity is a number from 1 to %d.", events.MaxQuantity)
		case l.UnitPrice < 0 || l.UnitPrice > events.MaxUnitPrice:
			return fault.Field(field+"unit_price", "out_of_range", "unit_price is a number from 0 to %d, in minor units.", events.MaxUnitPrice)
		}
	}
	if req.total() == 0 {
		return fault.Field("lines", "nothing_to_pay", "The order's total must be more than nothing.")
	}
	return nil
}

func (req *request) total() (sum int64) {
	for _, l := range req.Lines {
		sum += l.Quantity * l.UnitPrice
	}
	return sum
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
	key := r.Header.Get("Idempotency-Key")
	if !keyPattern.MatchString(key) {
		return fault.Field("Idempotency-Key", "required", "Send header Idempotency-Key: 1 to 255 visible ASCII characters, new for each order, the same for each repetition.")
	}
	var req request
	body, err := rest.Decode(w, r, &req)
	if err != nil {
		return err
	}
	if err := req.validate(); err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("new checkout id: %w", err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	c, err := s.placer.place(ctx, &placement{
		paymentToken: req.PaymentToken,
		checkout: &Checkout{
			Row: aggregate.Row{ID: id, Version: 1}, IdempotencyKey: key, RequestHash: hashOf(body),
			CustomerID: req.CustomerID, Lines: req.Lines, Amount: req.total(), Currency: req.Currency,
			TraceParent: telemetry.TraceParent(ctx), Status: Placed,
		},
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/checkouts/"+c.ID.String())
	return rest.Write(w, http.StatusAccepted, receipt{
		ID: c.ID, OrderID: c.ID, Total: events.Money{Amount: c.Amount, Currency: c.Currency}, PlacedAt: c.PlacedAt,
	})
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
	PlacedAt   time.Time      `json:"placed_at"`
	SettledAt  *time.Time     `json:"settled_at,omitempty"`
}

func (s *server) get(w http.ResponseWriter, r *http.Request) error {
	id, err := uuid.Parse(chi.URLParam(r, "id"))
	if err != nil {
		return fault.Field("id", "not_a_uuid", "A checkout id is a UUID.")
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	found, err := checkouts.Load(ctx, s.pool, []uuid.UUID{id})
	if err != nil {
		return err
	}
	c := found[id]
	if c == nil {
		return fault.New(fault.NotFound, "checkout_not_found", "There is no such checkout.")
	}
	return rest.Write(w, http.StatusOK, view{
		ID: c.ID, OrderID: c.ID, CustomerID: c.CustomerID, Status: c.Status, Reason: c.Reason,
		Total: events.Money{Amount: c.Amount, Currency: c.Currency}, Lines: c.Lines,
		PlacedAt: c.PlacedAt, SettledAt: c.SettledAt,
	})
}
