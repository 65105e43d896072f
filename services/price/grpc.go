package price

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quadrille.internal/events"
	pricev1 "quadrille.internal/events/proto/price/v1"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/quote"
	"quadrille.internal/services/price/pricing"
)

const callTimeout = 5 * time.Second

// prices answers other services at once; see price.proto.
type prices struct {
	pricev1.UnimplementedPricesServer
	pool   *pgxpool.Pool // of explanations
	outbox *outbox.Outbox
	quoter *quoter
	log    *slog.Logger
}

func (p *prices) register(r grpc.ServiceRegistrar) { pricev1.RegisterPricesServer(r, p) }

// Quote answers with a signed quote.
func (p *prices) Quote(ctx context.Context, req *pricev1.QuoteRequest) (*pricev1.QuoteResponse, error) {
	if !events.ValidCurrency(req.GetCurrency()) {
		return nil, status.Error(codes.InvalidArgument, "currency is an ISO 4217 code")
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, p.statusOf(ctx, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	basket := pricing.Basket{Currency: req.GetCurrency(), Groups: req.GetGroups(), Region: req.GetRegion(), Voucher: req.GetVoucher()}
	for _, l := range req.GetLines() {
		basket.Items = append(basket.Items, pricing.Item{SKU: l.GetSku(), Quantity: l.GetQuantity()})
	}
	computed, err := p.quoter.compute(ctx, ask{id: id, customerID: req.GetCustomerId(), cartID: req.GetCartId(), basket: basket, unused: true})
	var refused *pricing.Refusal
	switch {
	case errors.As(err, &refused):
		return &pricev1.QuoteResponse{Refusal: refusalOf(refused)}, nil
	case err != nil:
		return nil, p.statusOf(ctx, err)
	}
	token, err := p.quoter.sign(ctx, computed)
	if err != nil {
		return nil, p.statusOf(ctx, err)
	}
	return &pricev1.QuoteResponse{Token: token}, nil
}

// Commit says what an order of a quote costs, and holds its voucher.
func (p *prices) Commit(ctx context.Context, req *pricev1.CommitRequest) (*pricev1.CommitResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := p.commit(ctx, req)
	if err != nil {
		return nil, p.statusOf(ctx, err)
	}
	return answer, nil
}

func (p *prices) commit(ctx context.Context, req *pricev1.CommitRequest) (*pricev1.CommitResponse, error) {
	keys, err := p.quoter.keys.verifiers(ctx)
	if err != nil {
		return nil, err
	}
	given, err := keys.Verify(req.GetToken(), p.quoter.now())
	if err != nil || given.CustomerID != req.GetCustomerId() {
		return &pricev1.CommitResponse{Outcome: pricev1.CommitResponse_OUTCOME_QUOTE_INVALID}, nil //nolint:nilerr // the outcome tells it
	}
	u := use{OrderID: uuid.MustParse(req.GetOrderId()), Code: given.Voucher, QuoteID: given.ID}
	s, err := p.quoter.settle(ctx, given, req.GetToken())
	var refused *pricing.Refusal
	switch {
	case errors.As(err, &refused):
		return &pricev1.CommitResponse{Outcome: pricev1.CommitResponse_OUTCOME_REFUSED, Refusal: refusalOf(refused)}, nil
	case err != nil:
		return nil, err
	case s.dearer != nil:
		return &pricev1.CommitResponse{
			Outcome:     pricev1.CommitResponse_OUTCOME_PRICE_CHANGED,
			QuotedTotal: given.Total, CurrentTotal: s.dearer.Total, Currency: given.Currency,
		}, nil
	}
	if u.Code != "" {
		err = hold(ctx, p.outbox, u)
	}
	return committed(s.token, u, err)
}

// committed answers after a voucher was to be held.
func committed(token string, u use, err error) (*pricev1.CommitResponse, error) {
	var used *usedError
	switch {
	case errors.Is(err, errUsedUp):
		refused := &pricing.Refusal{Code: pricing.VoucherUsedUp, Message: "Voucher " + u.Code + " is used up."}
		return &pricev1.CommitResponse{Outcome: pricev1.CommitResponse_OUTCOME_REFUSED, Refusal: refusalOf(refused)}, nil
	case errors.Is(err, errCancelled):
		return &pricev1.CommitResponse{Outcome: pricev1.CommitResponse_OUTCOME_ORDER_CANCELLED}, nil
	case errors.As(err, &used):
		return &pricev1.CommitResponse{Outcome: pricev1.CommitResponse_OUTCOME_QUOTE_USED, OrderId: used.order.String()}, nil
	case err != nil:
		return nil, err
	}
	return &pricev1.CommitResponse{Outcome: pricev1.CommitResponse_OUTCOME_COMMITTED, Token: token}, nil
}

// errRedeemed is the answer to a release that comes too late.
var errRedeemed = status.Error(codes.FailedPrecondition, "the order is confirmed: its voucher is redeemed")

// Release gives back what an order holds that will not be made.
func (p *prices) Release(ctx context.Context, req *pricev1.ReleaseRequest) (*pricev1.ReleaseResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := p.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		redeemed := false
		err := settleUses(ctx, tx, []uuid.UUID{uuid.MustParse(req.GetOrderId())}, func(u use) Status {
			redeemed = u.Status == Redeemed
			return released(u)
		})
		if redeemed {
			return errRedeemed
		}
		return err
	})
	if err != nil {
		return nil, p.statusOf(ctx, err)
	}
	return &pricev1.ReleaseResponse{}, nil
}

// released is what becomes of a use whose order will not be made.
func released(u use) Status {
	if u.Status == Held {
		return Released
	}
	return u.Status
}

// Keys answers with the public keys that verify quotes.
func (p *prices) Keys(ctx context.Context, _ *pricev1.KeysRequest) (*pricev1.KeysResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	jwks, err := p.quoter.keys.publish(ctx)
	if err != nil {
		return nil, p.statusOf(ctx, err)
	}
	return &pricev1.KeysResponse{Jwks: string(jwks)}, nil
}

func refusalOf(r *pricing.Refusal) *pricev1.Refusal {
	return &pricev1.Refusal{Code: r.Code, Message: r.Message, Skus: r.SKUs}
}

// statusOf hides causes from callers and logs those that are ours. It never answers
// Unimplemented, which daprd would take as a call to a method that does not exist.
func (p *prices) statusOf(ctx context.Context, err error) error {
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	if pgtx.Transient(err) || errors.Is(err, errBusy) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return status.Error(codes.Unavailable, "price cannot answer now; try again")
	}
	p.log.ErrorContext(ctx, "call failed", "err", err)
	return status.Error(codes.Internal, "price failed")
}

// explain computes a quote again by the book as it was, for operators.
func (p *prices) explain(ctx context.Context, token string) (*explanation, error) {
	given, err := quote.Read(token)
	if err != nil {
		return nil, err
	}
	return explain(ctx, p.pool, given)
}
