// Package catalog is the service that owns the products, and finds them.
package catalog

import (
	"context"
	"embed"
	"errors"
	"sync/atomic"
	"time"

	"quadrille.internal/events"
	"quadrille.internal/events/catalog"
	"quadrille.internal/events/inventory"
	"quadrille.internal/events/price"
	inventoryv1 "quadrille.internal/events/proto/inventory/v1"
	pricev1 "quadrille.internal/events/proto/price/v1"
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
		Hears:      []string{inventory.TypeStockChanged, price.TypePriceUpdated},
		Calls:      []string{inventoryv1.StockSnapshot_ListStock_FullMethodName, pricev1.PriceSnapshot_ListPrices_FullMethodName},
		Build:      build,
	}
}

func build(kit *service.Kit) service.App {
	engine := engineOf(kit)
	currency := kit.Config.About("the currency that searches sort and filter by").String("QUADRILLE_SHOP_CURRENCY", "GBP")
	if !events.ValidCurrency(currency) {
		kit.Config.Fault("QUADRILLE_SHOP_CURRENCY", errors.New("is not an ISO 4217 code such as GBP"))
	}
	x := &indexer{pool: kit.Pool, engine: engine, log: kit.Log, currency: currency,
		lag: kit.Metrics.Durations("catalog_index_lag_seconds", "", "From a change of a product to the search index.")}
	b := &builder{pool: kit.Pool, engine: engine, log: kit.Log, currency: currency, searchesEnd: searchesEnd}
	indexing, building := x.sweep(), b.sweep()
	s := &server{pool: kit.Pool, outbox: kit.Outbox, engine: engine, api: kit.API, builder: b, currency: currency,
		changed: func() { indexing.Wake(); building.Wake() }}
	w := &waits{indexer: x}
	w.expose(kit.Metrics)
	o := ownersOf(kit.Pool, kit.Calls)
	stocks := &loader{name: "copies of stock", load: o.loadStock, log: kit.Log}
	prices := &loader{name: "copies of prices", load: o.loadPrices, log: kit.Log}
	work := []service.Work{
		{Name: "search changes", Run: indexing.Run},
		{Name: "search indexes", Run: building.Run},
		{Name: "search lag", Run: w.run},
		{Name: "copies of stock", Run: stocks.run},
		{Name: "copies of prices", Run: prices.run},
	}
	if client, ok := engine.(*search.OpenSearch); ok {
		work = append(work, service.Work{Name: "search client", Run: func(ctx context.Context) error {
			<-ctx.Done()
			client.Close()
			return nil
		}})
	}
	return service.App{Handle: handle, OpenRoutes: s.routes, OperatorRoutes: s.operatorRoutes, Work: work}
}

// engineOf reads which engine keeps the search index.
func engineOf(kit *service.Kit) search.Engine {
	name := kit.Config.About("what keeps the search index: postgres, which is catalog's own database, or opensearch").
		Choice("QUADRILLE_SEARCH_ENGINE", search.PostgresName, search.PostgresName, search.OpenSearchName)
	c := search.OpenSearchConfig{
		URL:      kit.Config.About("where OpenSearch is").String("QUADRILLE_OPENSEARCH_URL", "http://127.0.0.1:9200"),
		User:     kit.Config.About("who catalog is for OpenSearch; empty where it asks nobody").String("QUADRILLE_OPENSEARCH_USER", ""),
		Password: kit.Config.About("the user's password").OptionalSecret("QUADRILLE_OPENSEARCH_PASSWORD").Reveal(),
		Alias:    kit.Config.About("the name of the index that is searched; those of all indexes begin with it").String("QUADRILLE_OPENSEARCH_ALIAS", "quadrille-products"),
	}
	if name == search.PostgresName {
		return search.NewPostgres(kit.Pool)
	}
	engine, err := search.NewOpenSearch(c)
	if err != nil {
		kit.Config.Fault("QUADRILLE_OPENSEARCH_URL", err)
	}
	return engine
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
