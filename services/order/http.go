package order

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/events"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/telemetry"
)

var pages = rest.Pages{Default: 50, Most: 200}

type server struct {
	pool   *pgxpool.Pool
	outbox *outbox.Outbox
	api    rest.API
	took   *telemetry.Durations
}

func (s *server) routes(r chi.Router) {
	r.Get("/v1/orders", s.api.Handle(s.list))
	r.Get("/v1/orders/{id}", s.api.Handle(s.get))
	r.Post("/v1/orders/{id}/cancel", s.api.Handle(s.cancel))
}

// operatorRoutes are on the admin port, where orders are everybody's.
func (s *server) operatorRoutes(r chi.Router) {
	r.Get("/v1/orders/{id}", s.api.Handle(s.get))
	r.Post("/v1/orders/{id}/cancel", s.api.Handle(s.cancel))
}

// view is an order as callers see it.
type view struct {
	ID         uuid.UUID      `json:"id"`
	Status     Status         `json:"status"`
	Reason     *events.Reason `json:"reason,omitempty"`
	WaitsFor   string         `json:"waits_for,omitempty"`
	CustomerID *string        `json:"customer_id,omitempty"`
	Total      events.Money   `json:"total"`
	Lines      []events.Line  `json:"lines"`

	Adjustments []events.Adjustment `json:"adjustments,omitempty"`
	Shipping    int64               `json:"shipping,omitempty"`
	Tax         int64               `json:"tax,omitempty"`

	Timeline []moment `json:"timeline"`
}

// moment is one fact of an order, by the event that told it.
type moment struct {
	Event string    `json:"event"`
	At    time.Time `json:"at"`
}

func viewOf(o *Order) view {
	return view{
		ID: o.ID, Status: o.Status, Reason: o.Reason, WaitsFor: o.WaitsFor(), CustomerID: o.CustomerID,
		Total: events.Money{Amount: o.Amount, Currency: o.Currency}, Lines: o.Lines,
		Adjustments: o.Adjustments, Shipping: o.Shipping, Tax: o.Tax, Timeline: timeline(o),
	}
}

func timeline(o *Order) []moment {
	settled := order.TypeConfirmed
	if o.Status == Cancelled {
		settled = order.TypeCancelled
	}
	var t []moment
	for _, m := range []struct {
		event string
		at    *time.Time
	}{
		{checkout.TypeOrderCreated, o.PlacedAt},
		{inventory.TypeReserved, o.ReservedAt},
		{inventory.TypeReservationFailed, o.ReservationFailedAt},
		{payment.TypeCompleted, o.PaidAt},
		{payment.TypeFailed, o.PaymentFailedAt},
		{inventory.TypeReservationExpired, o.ExpiredAt},
		{"order.cancel.asked", o.CancelAskedAt},
		{settled, o.SettledAt},
		{inventory.TypeReleased, o.ReleasedAt},
		{payment.TypeRefunded, o.RefundedAt},
	} {
		if m.at != nil {
			t = append(t, moment{m.event, *m.at})
		}
	}
	slices.SortStableFunc(t, func(a, b moment) int { return a.At.Compare(b.At) })
	return t
}

func (s *server) get(w http.ResponseWriter, r *http.Request) error {
	id, err := rest.PathID(r, "An order id is a UUID.")
	if err != nil {
		return err
	}
	o, err := s.find(r.Context(), s.pool, id)
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusOK, viewOf(o))
}

// cancel decides at once: either the order is cancelled when this answers, or it
// is confirmed and stays so.
func (s *server) cancel(w http.ResponseWriter, r *http.Request) error {
	id, err := rest.PathID(r, "An order id is a UUID.")
	if err != nil {
		return err
	}
	var o *Order
	err = s.outbox.InTx(r.Context(), func(ctx context.Context, tx *outbox.Tx) error {
		if o, err = s.find(ctx, tx, id); err != nil {
			return err
		}
		if err := o.AskCancel(tx.Now); err != nil {
			return err
		}
		e := o.Decide(tx.Now)
		if e == nil {
			return nil
		}
		if err := tx.Emit(cmp.Or(o.TraceParent, telemetry.TraceParent(ctx)), e); err != nil {
			return err
		}
		s.settled(tx, o)
		return orders.Save(tx, map[uuid.UUID]*Order{id: o})
	})
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusOK, viewOf(o))
}

// find returns an order whose creation was heard of. One of somebody else's is not
// even admitted to exist.
func (s *server) find(ctx context.Context, db aggregate.Querier, id uuid.UUID) (*Order, error) {
	found, err := orders.Load(ctx, db, []uuid.UUID{id})
	if err != nil {
		return nil, err
	}
	o := found[id]
	if o == nil || o.PlacedAt == nil || !caller.Is(ctx, *o.CustomerID) {
		return nil, fault.New(fault.NotFound, "order_not_found", "There is no such order; one just placed may take a moment to appear.")
	}
	return o, nil
}

func (s *server) list(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	customer := q.Get("customer_id")
	if customer == "" {
		return fault.Field("customer_id", "required", "Say whose orders: ?customer_id=.")
	}
	if err := caller.CheckIs(r.Context(), "customer_id", customer); err != nil {
		return err
	}
	limit, cursor, err := rest.ReadPage(r, pages, uuid.Max, uuid.Parse)
	if err != nil {
		return err
	}
	found, err := orders.Select(r.Context(), s.pool,
		"where customer_id = $1 and id < $2 order by id desc limit $3", customer, cursor, limit+1)
	if err != nil {
		return err
	}
	page := struct {
		Orders []view `json:"orders"`
		Next   string `json:"next_cursor,omitempty"`
	}{}
	found, page.Next = rest.CutPage(found, limit, func(last *Order) string { return last.ID.String() })
	page.Orders = make([]view, len(found))
	for i, o := range found {
		page.Orders[i] = viewOf(o)
	}
	return rest.Write(w, http.StatusOK, page)
}
