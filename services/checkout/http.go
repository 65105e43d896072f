package checkout

import (
	"cmp"
	"fmt"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/events"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/idempotency"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/telemetry"
)

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

func (req *request) validate() error {
	if !events.ValidCurrency(req.Currency) {
		return fault.Field("currency", "malformed", "A currency is an ISO 4217 code, such as GBP.")
	}
	// The first fault is told.
	return cmp.Or(events.CheckName("customer_id", req.CustomerID), events.CheckName("payment_token", req.PaymentToken), events.CheckLines(req.Lines))
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
	if err := caller.CheckIs(r.Context(), "customer_id", req.CustomerID); err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("new checkout id: %w", err)
	}
	ctx := r.Context()
	c, err := s.placer.place(ctx, &placement{
		paymentToken: req.PaymentToken,
		checkout: &Checkout{
			Row: aggregate.Row{ID: id, Version: 1}, IdempotencyKey: key, RequestHash: idempotency.HashOf(body),
			CustomerID: req.CustomerID, Lines: req.Lines, Amount: events.Total(req.Lines), Currency: req.Currency,
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
	return rest.Write(w, http.StatusOK, view{
		ID: c.ID, OrderID: c.ID, CustomerID: c.CustomerID, Status: c.Status, Reason: c.Reason,
		Total: events.Money{Amount: c.Amount, Currency: c.Currency}, Lines: c.Lines,
		PlacedAt: c.PlacedAt, SettledAt: c.SettledAt,
	})
}
