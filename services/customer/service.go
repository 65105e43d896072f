// Package customer is the service that has the personal data of customers, and erases it.
package customer

import (
	"embed"
	"maps"
	"slices"
	"time"

	"quadrille.internal/events/customer"
	"quadrille.internal/platform/seal"
	"quadrille.internal/platform/service"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Service says what customer is.
func Service() service.Spec {
	return service.Spec{
		Name:       "customer",
		Migrations: migrations,
		Port:       18160,
		Paths:      []string{"/v1/customers"},
		Sealed:     true,
		Emits:      []string{customer.TypeErasureRequested, customer.TypeGroupsChanged},
		Hears:      slices.Sorted(maps.Keys(holders)),
		Build:      build,
	}
}

func build(kit *service.Kit) service.App {
	st := &store{pool: kit.Pool, log: kit.Log, master: seal.Read(kit.Config)}
	e := &erasures{outbox: kit.Outbox, log: kit.Log,
		within: kit.Config.About("how long services may take to erase a customer, before an alarm; the law gives a month").Duration("QUADRILLE_ERASURE_DEADLINE", 21*24*time.Hour)}
	e.expose(kit.Metrics)
	kit.Metrics.Gauge("customer_data_keys_to_reseal", "Data keys, 200 at most, that an older master key seals.", st.older.Load)
	s := &server{store: st, erasures: e, outbox: kit.Outbox, api: kit.API}
	c := &calls{store: st}
	return service.App{
		Handle: e.handle, Routes: s.routes, OperatorRoutes: s.operatorRoutes, Services: c.register,
		Work: []service.Work{{Name: "watch over erasures", Run: e.watch}, {Name: "sealing of data keys", Run: st.reseal}},
	}
}
