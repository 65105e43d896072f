package checkout

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	checkoutv1 "quadrille.internal/events/proto/checkout/v1"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/protorules"
)

const knownTimeout = 5 * time.Second

// orders answers other services at once; see orders.proto.
type orders struct {
	checkoutv1.UnimplementedOrdersServer
	pool *pgxpool.Pool
	log  *slog.Logger
}

func (o *orders) register(r grpc.ServiceRegistrar) {
	checkoutv1.RegisterOrdersServer(protorules.Checked(r), o)
}

// Known returns which orders were placed. The ids of the others are taken, so that no
// order can be placed under them.
func (o *orders) Known(ctx context.Context, req *checkoutv1.KnownRequest) (*checkoutv1.KnownResponse, error) {
	ids := make([]uuid.UUID, len(req.GetOrderIds()))
	for i, text := range req.GetOrderIds() {
		var err error
		if ids[i], err = uuid.Parse(text); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "order_ids[%d] is not a UUID", i)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, knownTimeout)
	defer cancel()
	known, err := o.settle(ctx, ids)
	switch {
	case pgtx.Transient(err):
		return nil, status.Error(codes.Unavailable, "checkout cannot answer now; try again")
	case err != nil:
		o.log.ErrorContext(ctx, "orders cannot be looked up", "err", err)
		return nil, status.Error(codes.Internal, "checkout failed")
	}
	answer := &checkoutv1.KnownResponse{}
	for _, id := range known {
		answer.OrderIds = append(answer.OrderIds, id.String())
	}
	return answer, nil
}

// settle decides about each id, and returns those that are orders. An order that is just
// being placed is waited for, on its row in quoted_orders. What the first statement found
// taken is committed, so the second, which sees newer rows, finds the order.
func (o *orders) settle(ctx context.Context, ids []uuid.UUID) ([]uuid.UUID, error) {
	_, err := o.pool.Exec(ctx, `
		insert into quoted_orders (order_id, placed)
		select id, false from unnest($1::uuid[]) id where id not in (select c.id from checkouts c where c.id = any($1)) order by id
		on conflict do nothing`, ids)
	if err != nil {
		return nil, err
	}
	rows, err := o.pool.Query(ctx, `select id from checkouts where id = any($1) order by id`, ids)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
}
