package b2b

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"quadrille.internal/events"
	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
	"quadrille.internal/platform/fault"
)

// inventory calls the inventory service, by gRPC through the sidecars.
type inventory struct{ client inventoryv1.AllocationsClient }

func newInventory(conn grpc.ClientConnInterface) *inventory {
	return &inventory{inventoryv1.NewAllocationsClient(conn)}
}

// allocate holds the order's stock. No allocations: too little is there.
func (i *inventory) allocate(ctx context.Context, o *Order, nearest []string) ([]events.Allocation, []events.Shortage, error) {
	req := &inventoryv1.AllocateRequest{OrderId: o.ID.String(), Nearest: nearest, AllowBackorder: o.AllowBackorder}
	for _, l := range o.Lines {
		req.Lines = append(req.Lines, &inventoryv1.Line{Sku: l.SKU, Quantity: l.Quantity})
	}
	answer, err := i.client.Allocate(ctx, req)
	if err != nil {
		return nil, nil, inventoryFault(err)
	}
	var allocations []events.Allocation
	for _, a := range answer.GetAllocations() {
		allocations = append(allocations, events.Allocation{SKU: a.GetSku(), Warehouse: a.GetWarehouse(), Quantity: a.GetQuantity()})
	}
	shortages := []events.Shortage{} // an event's list is empty, never null
	for _, s := range answer.GetShortages() {
		shortages = append(shortages, events.Shortage{SKU: s.GetSku(), Requested: s.GetRequested(), Available: s.GetAvailable()})
	}
	return allocations, shortages, nil
}

// release gives back what the order holds, if anything.
func (i *inventory) release(ctx context.Context, o *Order) error {
	_, err := i.client.Release(ctx, &inventoryv1.ReleaseRequest{OrderId: o.ID.String()})
	return inventoryFault(err)
}

func inventoryFault(err error) error {
	if err == nil {
		return nil
	}
	return &fault.Fault{Kind: fault.Unavailable, Code: codeInventory, Message: words[codeInventory], Cause: fmt.Errorf("inventory: %w", err)}
}
