// Package price is the service that says what something costs: lists, promotions, vouchers, quotes.
package price

import (
	"context"
	"embed"
	"fmt"
	"time"
	_ "time/tzdata" // the shop's time zone must be known on any machine

	"google.golang.org/grpc"

	"quadrille.internal/events"
	"quadrille.internal/events/customer"
	"quadrille.internal/events/order"
	"quadrille.internal/events/price"
	checkoutv1 "quadrille.internal/events/proto/checkout/v1"
	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/protorules"
	"quadrille.internal/platform/seal"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/sweep"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	switchEvery   = time.Second
	switchTimeout = 5 * time.Second
)

// Service says what price is.
func Service() service.Spec {
	return service.Spec{
		Name:       "price",
		Migrations: migrations,
		Grants:     map[string]string{"revisions": "select, insert", "documents": "select, insert, update", "prices": "select, insert, update"},
		Port:       18240,
		Paths:      []string{"/v1/prices"},
		Emits:      []string{price.TypePriceUpdated, price.TypeCustomerErased},
		Hears:      []string{order.TypeConfirmed, order.TypeCancelled, customer.TypeErasureRequested},
		Calls:      []string{checkoutv1.Orders_Known_FullMethodName},
		Sealed:     true,
		Build: func(kit *service.Kit) service.App {
			a := newApp(kit, seal.Read(kit.Config), time.Now)
			a.holds = &holds{kit.Outbox, checkoutv1.NewOrdersClient(kit.Calls("checkout"))}
			// Only parked events name customers here.
			forget := erasure.New(kit, nil, func(e events.Erased) events.Event { return price.CustomerErased{Erased: e} })
			return service.App{
				Handle: forget.Handle(handle), OpenRoutes: a.server.routes, OperatorRoutes: a.server.operatorRoutes,
				Services: func(r grpc.ServiceRegistrar) {
					r = protorules.Checked(r)
					a.prices.register(r)
					a.snapshot.register(r)
				},
				Work: []service.Work{
					{Name: "signing keys", Run: a.keys.run},
					{Name: "switches", Run: a.switches.Run},
					{Name: "voucher holds", Run: func(ctx context.Context) error { return a.holds.run(ctx, kit.Log) }},
					{Name: "public prices", Run: func(ctx context.Context) error { return published.Run(ctx, kit.Outbox, kit.Log) }},
					forget.Work(),
				},
			}
		},
	}
}

// app are the parts of the service.
type app struct {
	keys     *keyring
	quoter   *quoter
	prices   *prices
	snapshot *priceSnapshot
	server   *server
	switches *sweep.Sweep
	holds    *holds
}

func newApp(kit *service.Kit, box *seal.Box, now func() time.Time) *app {
	c := kit.Config
	validity := c.About("how long a quote is valid").Duration("QUADRILLE_QUOTE_VALIDITY", 15*time.Minute)
	period := c.About("how long a key signs quotes; its signatures are taken for the validity of a quote more. 17 s at least, more where quotes are valid for longer").
		Duration("QUADRILLE_QUOTE_KEY_PERIOD", 24*time.Hour)
	if least := leastPeriod(validity); period < least {
		c.Fault("QUADRILLE_QUOTE_KEY_PERIOD", fmt.Errorf(
			"is %s, want at least %s where quotes are valid for %s: of more than %d keys at once price would lose the oldest, and refuse its quotes",
			period, least, validity, keysBefore))
	}
	zone := c.About("the shop's time zone, in which its days begin").String("QUADRILLE_SHOP_TIME_ZONE", "Europe/London")
	location, err := time.LoadLocation(zone)
	if err != nil {
		c.Fault("QUADRILLE_SHOP_TIME_ZONE", err)
	}
	a := &app{keys: &keyring{pool: kit.Pool, box: box, period: period, validity: validity, now: now, log: kit.Log}}
	a.quoter = &quoter{db: kit.Pool, keys: a.keys, validity: validity, now: now}
	a.prices = &prices{pool: kit.Pool, outbox: kit.Outbox, quoter: a.quoter, log: kit.Log}
	a.snapshot = &priceSnapshot{pool: kit.Pool, prices: a.prices}
	a.switches = sweep.New(sweep.Config{Name: "switches of price lists", Every: switchEvery, Timeout: switchTimeout, Log: kit.Log},
		func(ctx context.Context) (bool, error) { return switchLists(ctx, kit.Outbox) })
	a.server = &server{
		pool: kit.Pool, outbox: kit.Outbox, api: kit.API, quoter: a.quoter, prices: a.prices, zone: location, switched: a.switches.Wake,
	}
	return a
}
