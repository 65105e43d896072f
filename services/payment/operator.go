package payment

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/sweep"
	"quadrille.internal/services/payment/wire"
)

const countEvery = 10 * time.Second

var pages = rest.Pages{Default: 50, Most: 200}

// books is what operators see of the payments, and do about them.
type books struct {
	pool   *pgxpool.Pool
	outbox *outbox.Outbox
	api    rest.API
	log    *slog.Logger
	// resumed has the sweep look for what was resumed.
	resumed func()

	charging, refunding, refused atomic.Int64 // as last counted
}

// viewOf is a payment as operators see it.
func viewOf(p *Payment) wire.Payment {
	resumed := *p
	return wire.Payment{
		OrderID: p.ID, Status: string(p.Status), Amount: p.Amount, Currency: p.Currency, Cancelled: p.Cancelled,
		ChargeID: p.ChargeID, RefundID: p.RefundID, Attempts: p.Attempts, LastError: p.LastError,
		Resumable: resumed.Resume(time.Time{}), SentAt: p.SentAt, DueAt: p.DueAt,
		RequestedAt: p.RequestedAt, CompletedAt: p.CompletedAt, RefusedAt: p.RefusedAt, EndedAt: p.EndedAt,
	}
}

// operatorRoutes are for the operators' port.
func (b *books) operatorRoutes(r chi.Router) {
	r.Get("/v1/payments", b.api.Handle(b.list))
	r.Get("/v1/payments/{id}", b.api.Handle(b.show))
	r.Post("/v1/payments/{id}/resume", b.api.Handle(b.resume))
}

func (b *books) list(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Query().Get("status") != string(Refused) {
		return fault.Field("status", "not_listed", "Payments are listed by status=refused only.")
	}
	limit, after, err := rest.ReadPage(r, pages, uuid.Nil, uuid.Parse)
	if err != nil {
		return err
	}
	found, err := payments.Select(r.Context(), b.pool, `where status = 'refused' and id > $1 order by id limit $2`, after, limit+1)
	if err != nil {
		return err
	}
	page := wire.Payments{Payments: []wire.Payment{}}
	found, page.Next = rest.CutPage(found, limit, func(last *Payment) string { return last.ID.String() })
	for _, p := range found {
		page.Payments = append(page.Payments, viewOf(p))
	}
	return rest.Write(w, http.StatusOK, page)
}

func (b *books) show(w http.ResponseWriter, r *http.Request) error {
	id, err := paymentID(r)
	if err != nil {
		return err
	}
	found, err := payments.Load(r.Context(), b.pool, []uuid.UUID{id})
	if err != nil {
		return err
	}
	p, ok := found[id]
	if !ok {
		return errNoPayment
	}
	return rest.Write(w, http.StatusOK, viewOf(p))
}

// resume has a refused payment asked for once more. The sweep takes it up.
func (b *books) resume(w http.ResponseWriter, r *http.Request) error {
	id, err := paymentID(r)
	if err != nil {
		return err
	}
	var resumed wire.Payment
	err = b.outbox.InTx(r.Context(), func(ctx context.Context, tx *outbox.Tx) error {
		found, err := payments.Load(ctx, tx, []uuid.UUID{id})
		if err != nil {
			return err
		}
		p, ok := found[id]
		if !ok {
			return errNoPayment
		}
		if !p.Resume(tx.Now) {
			return fault.New(fault.Conflict, "not_resumable",
				"The payment is %s: only a refused one whose means of payment is still known can be resumed.", p.Status)
		}
		resumed = viewOf(p)
		tx.AfterCommit(b.resumed)
		return payments.Save(tx, found)
	})
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusOK, resumed)
}

var errNoPayment = fault.New(fault.NotFound, "payment_not_found", "No payment of such an order is known.")

func paymentID(r *http.Request) (uuid.UUID, error) {
	return rest.PathID(r, "A payment has the id of its order, a UUID.")
}

// run counts what operators look at, and forgets old tokens, until ctx ends.
func (b *books) run(ctx context.Context) error {
	return sweep.New(sweep.Config{Name: "counting of payments", Every: countEvery, Timeout: sweepTimeout, Log: b.log},
		func(ctx context.Context) (bool, error) { return false, b.count(ctx) }).Run(ctx)
}

func (b *books) count(ctx context.Context) error {
	if _, err := b.pool.Exec(ctx, `
		update payments set token = '', version = version + 1
		where id in (select id from payments where status = 'refused' and token <> '' and refused_at < $1
			limit 1000 for update skip locked)`, time.Now().Add(-tokenLife)); err != nil {
		return err
	}
	var charging, refunding, refused int64
	err := b.pool.QueryRow(ctx, `
		select count(*) filter (where status = 'charging'), count(*) filter (where status = 'refunding'),
			(select count(*) from payments where status = 'refused')
		from (select status from payments where due_at is not null and attempts = 0
			union all select status from payments where due_at is not null and attempts > 0) due`).
		Scan(&charging, &refunding, &refused)
	if err != nil {
		return err
	}
	b.charging.Store(charging)
	b.refunding.Store(refunding)
	b.refused.Store(refused)
	return nil
}
