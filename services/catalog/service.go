// Package catalog is the service that owns the products, and finds them.
package catalog

import (
	"context"
	"embed"
	"sync/atomic"
	"time"

	"quadrille.internal/events/catalog"
	"quadrille.internal/events/inventory"
	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/sweep"
	"quadrille.internal/platform/telemetry"
	"quadrille.internal/services/catalog/search"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Service says what catalog is.
func Service() service.Spec {
	return service.Spec{
		Name:       "catalog",
		Migrations: migrations,
		Port:       18220,
		Paths:      []string{"/v1/products", "/v1/categories", "/v1/search"},
		Emits:      []string{catalog.TypeProductUpdated, catalog.TypeProductRetired},
		Hears:      []string{inventory.TypeStockChanged},
		Calls:      []string{inventoryv1.StockSnapshot_ListStock_FullMethodName},
		Build:      build,
	}
}

func build(kit *service.Kit) service.App {
	engine := search.NewPostgres(kit.Pool)
	x := &indexer{pool: kit.Pool, engine: engine, log: kit.Log,
		lag: kit.Metrics.Durations("catalog_index_lag_seconds", "", "From a change of a product to the search index.")}
	b := &builder{pool: kit.Pool, engine: engine, log: kit.Log, searchesEnd: searchesEnd}
	indexing, building := x.sweep(), b.sweep()
	s := &server{pool: kit.Pool, outbox: kit.Outbox, engine: engine, api: kit.API, builder: b,
		changed: func() { indexing.Wake(); building.Wake() }}
	w := &waits{indexer: x}
	w.expose(kit.Metrics)
	l := newLoader(kit.Pool, kit.Calls, kit.Log)
	return service.App{
		Handle: handle, OpenRoutes: s.routes, OperatorRoutes: s.operatorRoutes,
		Work: []service.Work{
			{Name: "search changes", Run: indexing.Run},
			{Name: "search indexes", Run: building.Run},
			{Name: "search lag", Run: w.run},
			{Name: "copies of stock", Run: l.run},
		},
	}
}

// waits knows how far the index is behind, for the metrics.
type waits struct {
	*indexer
	oldest, changes atomic.Int64
}

const waitsEvery = 5 * time.Second

func (w *waits) expose(m *telemetry.Metrics) {
	m.Gauge("catalog_index_waiting", "Changes that the search index has yet to hear of, measured every 5 s; replicas share them.", w.changes.Load)
	m.Gauge("catalog_index_oldest_seconds", "For how long the oldest of these has waited.", w.oldest.Load)
}

func (w *waits) run(ctx context.Context) error {
	return sweep.New(sweep.Config{Name: "search lag", Every: waitsEvery, Timeout: waitsEvery, Log: w.log}, w.look).Run(ctx)
}

func (w *waits) look(ctx context.Context) (more bool, err error) {
	oldest, changes, err := waiting(ctx, w.pool)
	if err == nil {
		w.oldest.Store(oldest)
		w.changes.Store(changes)
	}
	return false, err
}
