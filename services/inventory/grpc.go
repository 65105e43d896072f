package inventory

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quadrille.internal/events"
	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/telemetry"
)

const callTimeout = 5 * time.Second

// allocations answers other services at once; see allocation.proto.
type allocations struct {
	inventoryv1.UnimplementedAllocationsServer
	outbox *outbox.Outbox
	log    *slog.Logger
}

func (a *allocations) register(r grpc.ServiceRegistrar) { inventoryv1.RegisterAllocationsServer(r, a) }

// Allocate holds an order's stock, all of it or, with back-orders, what there is.
func (a *allocations) Allocate(ctx context.Context, req *inventoryv1.AllocateRequest) (*inventoryv1.AllocateResponse, error) {
	lines := make([]events.Line, len(req.GetLines()))
	for i, l := range req.GetLines() {
		lines[i] = events.Line{SKU: l.GetSku(), Quantity: l.GetQuantity()}
	}
	r, err := a.change(ctx, req.GetOrderId(), lines, func(r *Reservation, shelf Shelf, now time.Time) (events.Event, error) {
		return r.Hold(lines, req.GetNearest(), req.GetAllowBackorder(), shelf, now), nil
	})
	if err != nil {
		return nil, err
	}
	if r.Status == Released {
		return nil, status.Error(codes.FailedPrecondition, "the order's stock was released before")
	}
	return &inventoryv1.AllocateResponse{Allocations: protoOf(r.Allocations), Shortages: missing(lines, r.Allocations)}, nil
}

// Release gives back what an order holds. It is not announced: nobody heard of the
// allocation either but the caller.
func (a *allocations) Release(ctx context.Context, req *inventoryv1.ReleaseRequest) (*inventoryv1.ReleaseResponse, error) {
	r, err := a.change(ctx, req.GetOrderId(), nil, func(r *Reservation, shelf Shelf, now time.Time) (events.Event, error) {
		if err := r.GiveUp(shelf, now); err != nil {
			return nil, status.Error(codes.FailedPrecondition, err.Error())
		}
		return nil, nil //nolint:nilnil // nothing to announce is no fault
	})
	if err != nil {
		return nil, err
	}
	return &inventoryv1.ReleaseResponse{Released: protoOf(r.Allocations)}, nil
}

// change changes one reservation, with the stock of lines and of its own locked, and
// announces what that causes.
func (a *allocations) change(ctx context.Context, order string, lines []events.Line, change func(*Reservation, Shelf, time.Time) (events.Event, error)) (*Reservation, error) {
	id, err := uuid.Parse(order)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "order_id is a UUID")
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var r *Reservation
	err = a.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		found, err := reservations.Load(ctx, tx, []uuid.UUID{id})
		if err != nil {
			return err
		}
		if r = found[id]; r == nil {
			r = NewReservation(id)
			r.TraceParent = telemetry.TraceParent(ctx)
			found[id] = r
		}
		shelf, err := lockShelf(ctx, tx.Tx, skusIn(lines, found))
		if err != nil {
			return err
		}
		caused, err := change(r, shelf, tx.Now)
		if err != nil {
			return err
		}
		if caused != nil {
			if err := tx.Emit(r.TraceParent, caused); err != nil {
				return err
			}
		}
		// First the reservation: if another call changed it while this one waited for
		// the stock, what was computed from it fits no more.
		if err := reservations.Save(tx, found); err != nil {
			return err
		}
		return saveShelf(tx.Tx, shelf)
	})
	return r, statusOf(ctx, a.log, err)
}

// statusOf hides causes from callers and logs those that are ours. It never answers
// Unimplemented, which daprd would take as a call to a method that does not exist.
func statusOf(ctx context.Context, log *slog.Logger, err error) error {
	if err == nil {
		return nil
	}
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	if pgtx.Transient(err) {
		return status.Error(codes.Unavailable, "inventory cannot answer now; try again")
	}
	log.ErrorContext(ctx, "call failed", "err", err)
	return status.Error(codes.Internal, "inventory failed")
}

func protoOf(list []events.Allocation) []*inventoryv1.Allocation {
	out := make([]*inventoryv1.Allocation, len(list))
	for i, a := range list {
		out[i] = &inventoryv1.Allocation{Sku: a.SKU, Warehouse: a.Warehouse, Quantity: a.Quantity}
	}
	return out
}

// missing lists what lines ask for beyond what is allocated.
func missing(lines []events.Line, held []events.Allocation) []*inventoryv1.Shortage {
	got := make(map[string]int64, len(held))
	for _, a := range held {
		got[a.SKU] += a.Quantity
	}
	wanted := demand(lines)
	var short []*inventoryv1.Shortage
	for _, sku := range sortedKeys(wanted) {
		if got[sku] < wanted[sku] {
			short = append(short, &inventoryv1.Shortage{Sku: sku, Requested: wanted[sku], Available: got[sku]})
		}
	}
	return short
}
