// Package b2b is the service that runs companies' orders: credit, approval, stock from several
// warehouses and the ERP, as a Dapr workflow that survives anything.
package b2b

import (
	"context"
	"embed"

	"github.com/dapr/durabletask-go/workflow"

	"quadrille.internal/events"
	"quadrille.internal/events/b2b"
	"quadrille.internal/events/customer"
	"quadrille.internal/events/order"
	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/workflowengine"
)

//go:embed migrations/*.sql
var migrations embed.FS

// grants are what the service may do with its tables. Decisions it may only add, and
// the key that seals them is not for it to see. Nothing is deleted.
var grants = map[string]string{
	"companies": "select, insert, update", "orders": "select, insert, update", "gates": "select, insert, update",
	"decisions": "select, insert", "decision_key": "", "relay_leader": "select, update",
}

var erpPartner = service.Partner{Name: "erp", What: "the ERP", Port: 18910}

// Service says what b2b is.
func Service() service.Spec {
	return service.Spec{
		Name:       "b2b",
		Migrations: migrations,
		Grants:     grants,
		Port:       18500,
		Paths:      []string{"/v1/b2b"},
		Emits: []string{
			b2b.TypeOrderSubmitted, b2b.TypeApprovalRequested, b2b.TypeApprovalEscalated, b2b.TypeOrderApproved,
			b2b.TypeOrderRejected, b2b.TypeOrderAllocated, b2b.TypeOrderCompleted, b2b.TypeOrderFailed, b2b.TypeCustomerErased,
		},
		EmittedBefore: []string{order.TypeConfirmed}, // by v1
		Hears:         []string{customer.TypeErasureRequested},
		Calls: []string{
			inventoryv1.Allocations_Allocate_FullMethodName, inventoryv1.Allocations_Release_FullMethodName,
		},
		Workflows: workflowengine.Open,
		Partners:  []service.Partner{erpPartner},
		Build: func(kit *service.Kit) service.App {
			conn := kit.Workflows()
			client := workflow.NewClientWithLogger(conn, engineLog{kit.Log})
			attempts := kit.Config.About("tries of a step that calls others (about ten minutes) before it is undone, "+
				"or of a compensation before it is `compensation_failed`").Int("QUADRILLE_STEP_ATTEMPTS", 60, 1, 10_000)
			w := &worker{
				pool: kit.Pool, outbox: kit.Outbox, log: kit.Log,
				inventory: newInventory(kit.Calls("inventory")),
				erp:       newERP(erpPartner.Read(kit.Config)),
				took:      kit.Metrics.SagaSeconds(string(Completed), string(Rejected), string(Cancelled), string(Failed)),
			}
			r := newRelay(kit.Pool, client, kit.Log, attempts)
			r.expose(kit.Metrics)
			s := &server{pool: kit.Pool, outbox: kit.Outbox, relay: r, api: kit.API, started: kit.Metrics.SagasStarted()}
			forget := erasure.New(kit, erase, func(e events.Erased) events.Event { return b2b.CustomerErased{Erased: e} })
			return service.App{Handle: forget.Handle(nil), Routes: s.routes, OperatorRoutes: s.operatorRoutes, Work: []service.Work{
				{Name: "workflow worker", Run: func(ctx context.Context) error { return w.run(ctx, conn) }},
				{Name: "relay", Run: r.run},
				forget.Work(),
			}}
		},
	}
}
