package b2b

import (
	"cmp"
	"context"
	"fmt"
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/events"
	"quadrille.internal/events/b2b"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/idempotency"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/telemetry"
	"quadrille.internal/workflows/b2b/wire"
)

type server struct {
	pool   *pgxpool.Pool
	outbox *outbox.Outbox
	relay  *relay
	api    rest.API
	// started counts the orders that were taken in.
	started *telemetry.Begun
}

func (s *server) routes(r chi.Router) {
	r.Post("/v1/b2b/orders", s.api.Handle(s.submit))
	r.Get("/v1/b2b/orders/{id}", s.api.Handle(s.ofCaller(s.get)))
	r.Post("/v1/b2b/orders/{id}/cancel", s.api.Handle(s.ofCaller(s.cancel)))
	r.Post("/v1/b2b/orders/{id}/approval", s.api.Handle(s.ofCaller(s.vote)))
	r.Get("/v1/b2b/approvals", s.api.Handle(s.approvals))
	r.Get("/v1/b2b/companies/{company}", s.api.Handle(s.callersCompany))
}

// operatorRoutes are on the admin port: they set credit and who may approve, and show
// orders of every company.
func (s *server) operatorRoutes(r chi.Router) {
	r.Get("/v1/b2b/orders/{id}", s.api.Handle(s.get))
	r.Post("/v1/b2b/orders/{id}/cancel", s.api.Handle(s.cancel))
	r.Get("/v1/b2b/approvals", s.api.Handle(s.approvals))
	r.Get("/v1/b2b/companies/{company}", s.api.Handle(s.getCompany))
	r.Put("/v1/b2b/companies/{company}", s.api.Handle(s.putCompany))
	r.Post("/v1/b2b/orders/{id}/resume", s.api.Handle(s.resume))
	r.Get("/v1/b2b/stuck", s.api.Handle(s.stuck))
}

// checkOrder returns the first fault of an order.
func checkOrder(o *wire.NewOrder) error {
	return cmp.Or(events.CheckName("company_id", o.CompanyID), events.CheckName("ordered_by", o.OrderedBy), events.CheckLines(o.Lines))
}

func (s *server) submit(w http.ResponseWriter, r *http.Request) error {
	key, err := idempotency.Key(r)
	if err != nil {
		return err
	}
	var req wire.NewOrder
	body, err := rest.Decode(w, r, &req)
	if err != nil {
		return err
	}
	if err := checkOrder(&req); err != nil {
		return err
	}
	if err := checkBuyer(r.Context(), &req); err != nil {
		return err
	}
	var o *Order
	hash := idempotency.HashOf(body).String()
	err = idempotency.Once("orders_once", func() error { //nolint:contextcheck // it does, by place
		o, err = s.place(r.Context(), &req, key, hash)
		return err
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/b2b/orders/"+o.ID.String())
	return rest.Write(w, http.StatusAccepted, wire.Receipt{ID: o.ID, Total: o.total(), SubmittedAt: o.SubmittedAt})
}

// place records an order, or finds the one that bears the key already.
func (s *server) place(ctx context.Context, req *wire.NewOrder, key, hash string) (*Order, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("new order id: %w", err)
	}
	var placed *Order
	err = s.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		earlier, err := orders.Select(ctx, tx, `where company_id = $1 and idempotency_key = $2`, req.CompanyID, key)
		if err != nil {
			return err
		}
		if len(earlier) > 0 {
			placed = earlier[0]
			return nil
		}
		company, err := loadCompany(ctx, tx, req.CompanyID)
		if err != nil {
			return err
		}
		placed = &Order{
			Row: aggregate.Row{ID: id}, IdempotencyKey: key, RequestHash: hash, CompanyID: req.CompanyID,
			OrderedBy: req.OrderedBy, Status: Submitted, Lines: req.Lines, Amount: events.Total(req.Lines), Currency: company.Currency,
			AllowBackorder: req.AllowBackorder, Steps: []*Step{}, TraceParent: telemetry.TraceParent(ctx), SubmittedAt: tx.Now, MovedAt: tx.Now,
		}
		tx.AfterCommit(func() {
			s.started.Add(1)
			s.relay.start(placed)
		})
		if err := tx.Emit(placed.TraceParent, &b2b.OrderSubmitted{
			OfOrder: placed.subject(), CompanyID: placed.CompanyID, OrderedBy: placed.OrderedBy, Lines: placed.Lines, Total: placed.total(),
		}); err != nil {
			return err
		}
		placed.checkAgain(nil)
		return orders.Save(tx, map[uuid.UUID]*Order{id: placed})
	})
	if err != nil {
		return nil, err
	}
	return placed, idempotency.Check(placed.RequestHash == hash)
}

func (s *server) get(w http.ResponseWriter, r *http.Request) error {
	id, err := rest.PathID(r, "An order id is a UUID.")
	if err != nil {
		return err
	}
	return s.answer(r.Context(), w, id)
}

func (s *server) answer(ctx context.Context, w http.ResponseWriter, id uuid.UUID) error {
	o, err := loadOrder(ctx, s.pool, id)
	if err != nil {
		return err
	}
	found, err := gates.Load(ctx, s.pool, []uuid.UUID{id})
	if err != nil {
		return err
	}
	v := viewOf(o, found[id])
	if v.Decisions, err = listDecisions(ctx, s.pool, id); err != nil {
		return err
	}
	return rest.Write(w, http.StatusOK, v)
}

// cancel stops an order that is not completed. What was done for it is undone.
func (s *server) cancel(w http.ResponseWriter, r *http.Request) error {
	id, err := rest.PathID(r, "An order id is a UUID.")
	if err != nil {
		return err
	}
	ctx := r.Context()
	err = s.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		o, err := loadOrder(ctx, tx, id)
		if err != nil {
			return err
		}
		if o.Final() {
			return endedFault(o)
		}
		o.CancelAsked = true
		if err := s.closeGate(ctx, tx, o); err != nil {
			return err
		}
		return orders.Save(tx, map[uuid.UUID]*Order{id: o})
	})
	if err != nil {
		return err
	}
	return s.answer(ctx, w, id)
}

func endedFault(o *Order) error {
	if o.Status == Cancelled {
		return nil
	}
	return fault.New(fault.Conflict, "order_"+string(o.Status), "The order is already %s.", o.Status)
}

// closeGate decides an open gate as cancelled.
func (s *server) closeGate(ctx context.Context, tx *outbox.Tx, o *Order) error {
	found, err := gates.Load(ctx, tx, []uuid.UUID{o.ID})
	if err != nil {
		return err
	}
	g := found[o.ID]
	if g == nil || g.State != GateOpen {
		return nil
	}
	g.decide(GateCancelled, cancelledByCustomer.Reason, tx.Now)
	o.checkAgain(g)
	tx.AfterCommit(func() { s.relay.poke(o.ID, eventApproval) })
	return gates.Save(tx, found)
}

// vote records a decision, durably, before it answers; the workflow is told after.
func (s *server) vote(w http.ResponseWriter, r *http.Request) error {
	id, err := rest.PathID(r, "An order id is a UUID.")
	if err != nil {
		return err
	}
	var v Vote
	if _, err := rest.Decode(w, r, &v); err != nil {
		return err
	}
	if err := checkApprover(r.Context(), &v.Approver); err != nil {
		return err
	}
	var b *ballot
	err = s.outbox.InTx(r.Context(), func(ctx context.Context, tx *outbox.Tx) error {
		b, err = cast(ctx, tx, id, v, "api")
		if err == nil && b.gate.State != GateOpen {
			tx.AfterCommit(func() { s.relay.poke(id, eventApproval) })
		}
		return err
	})
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusOK, wire.Poll{
		OrderID: id, State: string(b.gate.State), Need: b.gate.Need, Decisions: b.earlier,
	})
}

// resume tries a compensation that kept failing once more. What is asked is
// committed first; the relay sees to it that the workflow hears of it.
func (s *server) resume(w http.ResponseWriter, r *http.Request) error {
	id, err := rest.PathID(r, "An order id is a UUID.")
	if err != nil {
		return err
	}
	ctx := r.Context()
	err = s.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		o, err := loadOrder(ctx, tx, id)
		if err != nil {
			return err
		}
		if o.Status != CompensationFailed {
			return fault.New(fault.Conflict, "not_stuck", "The order is %s; only compensation_failed can be resumed.", o.Status)
		}
		o.Status, o.Reason = Undoing, nil // the reason was that it is stuck
		o.move(tx.Now)
		o.checkAgain(nil)
		tx.AfterCommit(func() { s.relay.poke(id, eventResume) })
		return orders.Save(tx, map[uuid.UUID]*Order{id: o})
	})
	if err != nil {
		return err
	}
	return s.answer(ctx, w, id)
}
