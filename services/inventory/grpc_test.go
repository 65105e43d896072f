package inventory

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/protorules"
)

func ask(id uuid.UUID, sku string, units int64, backorder bool) *inventoryv1.AllocateRequest {
	return &inventoryv1.AllocateRequest{
		OrderId: id.String(), AllowBackorder: backorder,
		Lines: []*inventoryv1.Line{{Sku: sku, Quantity: units}},
	}
}

func (f fixture) allocations() *allocations {
	return &allocations{outbox: f.kit.Outbox, log: f.kit.Log}
}

// A caller who lost the answer asks again, and gets the same one.
func TestAllocateAndReleaseAreIdempotent(t *testing.T) {
	f := newFixture(t)
	f.put(t, Stock{SKU: "a", Warehouse: "hull", OnHand: 5})
	a, id := f.allocations(), uuid.New()
	first, err := a.Allocate(t.Context(), ask(id, "a", 7, true))
	if err != nil {
		t.Fatal(err)
	}
	if len(first.GetAllocations()) != 1 || len(first.GetShortages()) != 1 || first.GetShortages()[0].GetAvailable() != 5 {
		t.Errorf("answered %v", first)
	}
	f.put(t, Stock{SKU: "a", Warehouse: "hull", OnHand: 50})
	again, err := a.Allocate(t.Context(), ask(id, "a", 7, true))
	if err != nil || !proto.Equal(first, again) {
		t.Errorf("answered %v, then %v, %v", first, again, err)
	}
	for range 2 {
		released, err := a.Release(t.Context(), &inventoryv1.ReleaseRequest{OrderId: id.String()})
		if err != nil || len(released.GetReleased()) != 1 {
			t.Errorf("released %v, %v", released, err)
		}
	}
	if _, held := f.stock(t, "a"); held != 0 {
		t.Errorf("%d are still held", held)
	}
	f.checkBooks(t)
}

// A call that comes after the release it should have preceded gets nothing. If none
// comes, nothing is left to be settled.
func TestAllocateAfterRelease(t *testing.T) {
	f := newFixture(t)
	f.put(t, Stock{SKU: "a", Warehouse: "hull", OnHand: 5})
	a, id := f.allocations(), uuid.New()
	if _, err := a.Release(t.Context(), &inventoryv1.ReleaseRequest{OrderId: id.String()}); err != nil {
		t.Fatal(err)
	}
	found, err := reservations.Load(t.Context(), f.kit.Pool, []uuid.UUID{id})
	if err != nil || found[id] == nil || found[id].Status != Refused || found[id].EndedAt == nil {
		t.Errorf("the reservation is %+v, %v; want it refused", found[id], err)
	}
	answer, err := a.Allocate(t.Context(), ask(id, "a", 1, false))
	if err != nil || len(answer.GetAllocations()) > 0 {
		t.Errorf("answered %v, %v", answer, err)
	}
	held, err := a.Allocate(t.Context(), ask(uuid.New(), "a", 5, false))
	if err != nil || len(held.GetAllocations()) != 1 {
		t.Errorf("another order gets %v, %v", held, err)
	}
}

func TestAllocateAndReleaseOfOneOrderAtOnce(t *testing.T) {
	f := newFixture(t)
	f.put(t, Stock{SKU: "a", Warehouse: "hull", OnHand: 1000})
	a := f.allocations()
	for range 20 {
		id := uuid.New()
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				if _, err := a.Allocate(t.Context(), ask(id, "a", 1, false)); err != nil && status.Code(err) != codes.FailedPrecondition {
					t.Error(err)
				}
			})
			all.Go(func() {
				if _, err := a.Release(t.Context(), &inventoryv1.ReleaseRequest{OrderId: id.String()}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	if _, held := f.stock(t, "a"); held != 0 {
		t.Errorf("%d are still held", held)
	}
	f.checkBooks(t)
}

func TestFiftyOrdersRaceForTheLastStock(t *testing.T) {
	const crowd, fitting = 50, 7
	f := newFixture(t)
	f.put(t, Stock{SKU: "a", Warehouse: "hull", OnHand: fitting})
	a := f.allocations()
	var all sync.WaitGroup
	var held atomic.Int64
	for range crowd {
		all.Go(func() {
			answer, err := a.Allocate(t.Context(), ask(uuid.New(), "a", 1, false))
			if err != nil {
				t.Error(err)
			}
			held.Add(int64(len(answer.GetAllocations())))
		})
	}
	all.Wait()
	if held.Load() != fitting {
		t.Errorf("%d orders hold stock, want %d", held.Load(), fitting)
	}
	f.checkBooks(t)
}

func TestAllocateRefusesNonsense(t *testing.T) {
	id := uuid.New()
	for name, req := range map[string]*inventoryv1.AllocateRequest{
		"no order":      {Lines: ask(id, "a", 1, false).GetLines()},
		"no lines":      {OrderId: id.String()},
		"no quantity":   ask(id, "a", 0, false),
		"too many":      ask(id, "a", 1_000_001, false),
		"no such name":  ask(id, "a b", 1, false),
		"not even a id": {OrderId: "1", Lines: ask(id, "a", 1, false).GetLines()},
	} {
		if err := protorules.Check(req); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Callers are not told what broke, so the log tells it.
func TestWhatBreaksIsLogged(t *testing.T) {
	f := newFixture(t)
	if _, err := pgtest.Owner(t, f.kit.Pool).Exec(t.Context(), `drop table reservations`); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	a := &allocations{outbox: f.kit.Outbox, log: slog.New(slog.NewTextHandler(&log, nil))}
	_, err := a.Allocate(t.Context(), ask(uuid.New(), "a", 1, false))
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "reservations") || !strings.Contains(log.String(), "reservations") {
		t.Errorf("answered %v, logged %q", err, log.String())
	}
}
