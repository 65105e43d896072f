package inventory

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/inventory"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/servicetest"
)

// A session that keeps the stock of one SKU locked holds up the orders of that SKU,
// and no others.
func TestALockedStockHoldsUpItsOrdersAlone(t *testing.T) {
	f := newFixture(t)
	var batch []inbox.Message
	var ids []uuid.UUID
	for n := range 100 {
		sku := fmt.Sprintf("sku-%d", n)
		f.put(t, Stock{SKU: sku, Warehouse: "leeds", OnHand: 1})
		ids = append(ids, uuid.New())
		batch = append(batch, servicetest.Message(t, created(ids[n], events.Line{SKU: sku, Quantity: 1}), epoch))
	}
	other, err := f.kit.Pool.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Rollback(context.Background()) //nolint:errcheck // it is, before, as a rule
	if _, err := other.Exec(t.Context(), `select from stock where sku = 'sku-63' for update`); err != nil {
		t.Fatal(err)
	}
	in := f.inbox(t, time.Minute)
	// On a machine that is busy healthy orders may be out of time as well, and come again.
	try := func(messages []inbox.Message) (again []inbox.Message) {
		servicetest.Await(t, "one order at most is to come again", func() bool {
			again = in.Try(messages...)
			messages = again
			return len(again) <= 1
		})
		return again
	}
	again := try(batch)
	if len(again) != 1 {
		t.Fatal("the order whose stock is locked is handled")
	}
	for range 3 {
		again = try(append(again, servicetest.Message(t, created(uuid.New(), events.Line{SKU: "none", Quantity: 1}), epoch)))
		if len(again) != 1 {
			t.Error("the order whose stock is locked is handled")
		}
	}
	if err := other.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	in.Deliver(again...)
	emitted := servicetest.Emitted(t, f.kit.Pool)
	for n, id := range ids {
		if got := servicetest.Types(emitted[id]); len(got) != 1 || got[0] != inventory.TypeReserved {
			t.Errorf("order %d: %v, want it reserved once", n, got)
		}
	}
	f.checkBooks(t)
}
