package price

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"quadrille.internal/events/price"
	pricev1 "quadrille.internal/events/proto/price/v1"
	"quadrille.internal/platform/servicetest"
)

// told returns what product.price.updated says of a SKU, newest last.
func (f *fixture) told(sku string) (states []price.Product) {
	f.Helper()
	for {
		n, err := published.Sweep(context.Background(), f.kit.Outbox)
		if err != nil {
			f.Fatal(err)
		}
		if n == 0 {
			break
		}
	}
	for _, e := range servicetest.EmittedAbout(f.T, f.kit.Pool, sku) {
		for _, p := range e.(*price.PriceUpdated).Products {
			if p.SKU == sku {
				states = append(states, p)
			}
		}
	}
	return states
}

func amounts(states []price.Product) (list []int64) {
	for _, s := range states {
		if len(s.Prices) == 0 {
			list = append(list, -1)
			continue
		}
		list = append(list, s.Prices[0].Amount)
	}
	return list
}

// Views hear what everybody pays, once for each change, and of nothing else.
func TestPricesAreAnnounced(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	f.list("base", 500, longAgo) // nothing changes
	f.told("TEA")
	f.list("base", 550, longAgo)
	f.told("TEA")
	f.put("/v1/prices/lists/trade", `{"group": "trade", "currency": "GBP"`+longAgo+`}`)
	f.put("/v1/prices/lists/trade/prices", `{"prices": [{"sku": "TEA", "tiers": [{"min_quantity": 1, "amount": 5}]}]}`)
	f.told("TEA")
	if a := f.admin.Do("DELETE", "/v1/prices/lists/base", ""); a.Status != 204 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	f.switchNow()
	f.told("TEA")
	f.list("base", 560, longAgo)
	f.told("TEA")
	f.put("/v1/prices/lists/base/prices", `{"prices": [{"sku": "TEA", "tiers": []}]}`)
	f.told("TEA")
	f.list("base", 570, longAgo)
	states := f.told("TEA")
	if got := amounts(states); !slices.Equal(got, []int64{500, 550, -1, 560, -1, 570}) {
		t.Errorf("told %v", got)
	}
	for i, s := range states {
		if s.Version != int64(i+1) {
			t.Errorf("state %d has version %d", i, s.Version)
		}
	}
	page, err := f.app.snapshot.ListPrices(t.Context(), &pricev1.ListPricesRequest{})
	if err != nil || len(page.GetItems()) != 1 || page.GetItems()[0].GetVersion() != 6 || page.GetItems()[0].GetPrices()[0].GetAmount() != 570 {
		t.Errorf("the snapshot is %v, %v", page, err)
	}
}

func (f *fixture) switchNow() {
	f.Helper()
	if _, err := switchLists(context.Background(), f.kit.Outbox); err != nil {
		f.Fatal(err)
	}
}

// A list becomes valid, and ceases to be so, at its times: views hear of it then and not
// before, nobody touches anything, and a quote that is open holds.
func TestListsSwitchByThemselves(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	soon := time.Now().Add(5 * time.Second)
	f.list("sale", 400, fmt.Sprintf(`, "valid_from": %q, "valid_until": %q`, soon.Format(time.RFC3339Nano), soon.Add(15*time.Second).Format(time.RFC3339Nano)))
	f.switchNow()
	before := f.told("TEA")
	if got := amounts(before); !slices.Equal(got, []int64{500}) || before[0].Prices[0].ValidUntil == nil || !before[0].Prices[0].ValidUntil.Equal(soon.Truncate(time.Microsecond)) {
		t.Fatalf("before the sale %+v is told", before)
	}
	open, token := f.quote(1, "")
	await := func(want ...int64) {
		t.Helper()
		servicetest.Await(t, fmt.Sprint("prices ", want), func() bool {
			f.switchNow()
			return len(f.told("TEA")) >= len(want)
		})
		if got := amounts(f.told("TEA")); !slices.Equal(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
	}
	await(500, 400)
	if q := f.read(f.commit(token, open.ID).GetToken()); q.Total != 400 || open.Total != 500 {
		t.Errorf("the quote of %d became %d", open.Total, q.Total)
	}
	_, token = f.quote(1, "") // at the price of the sale
	await(500, 400, 500)
	if q := f.read(f.commit(token, open.ID).GetToken()); q.Total != 400 {
		t.Errorf("after the sale the quote costs %d", q.Total)
	}
}

// Midnight is the shop's, in summer and in winter, and where the clock skips it.
func TestDaysBeginInTheShopsTimeZone(t *testing.T) {
	for _, c := range []struct{ zone, day, want string }{
		{"Europe/London", "2026-12-01", "2026-12-01T00:00:00Z"},
		{"Europe/London", "2026-06-01", "2026-05-31T23:00:00Z"},
		{"Europe/London", "2026-03-29", "2026-03-29T00:00:00Z"},    // the clock goes forward at one
		{"America/Santiago", "2026-09-06", "2026-09-06T04:00:00Z"}, // at midnight it is one o'clock
		{"America/Santiago", "2026-04-05", "2026-04-05T04:00:00Z"}, // at midnight it is eleven again
		{"America/Havana", "2026-11-01", "2026-11-01T04:00:00Z"},   // midnight comes twice
		{"Asia/Tokyo", "2026-01-01", "2025-12-31T15:00:00Z"},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := startOfDay(c.day, zone); err != nil || got.UTC().Format(time.RFC3339) != c.want {
			t.Errorf("%s in %s begins at %s, %v, want %s", c.day, c.zone, got.UTC().Format(time.RFC3339), err, c.want)
		}
	}
	f := newFixture(t)
	body := f.put("/v1/prices/lists/summer", `{"currency": "GBP", "valid_from": "2026-06-01", "valid_until": "2026-12-01"}`)
	if !strings.Contains(body, `"valid_from":"2026-05-31T23:00:00Z","valid_until":"2026-12-01T00:00:00Z"`) {
		t.Errorf("answered %s", body)
	}
}

// A change of prices touches the prices and their marks: nothing is done for each cart.
func TestAThousandPricesInOneRequest(t *testing.T) {
	f := newFixture(t)
	f.put("/v1/prices/lists/base", `{"currency": "GBP"`+longAgo+`}`)
	var prices []string
	for i := range 1000 {
		prices = append(prices, fmt.Sprintf(`{"sku": "S%04d", "tiers": [{"min_quantity": 1, "amount": %d}]}`, i, i+1))
	}
	f.put("/v1/prices/lists/base/prices", `{"prices": [%s]}`, strings.Join(prices, ","))
	f.told("S0000")
	products := 0
	events := servicetest.Emitted(t, f.kit.Pool)
	for _, list := range events {
		for _, e := range list {
			products += len(e.(*price.PriceUpdated).Products)
		}
	}
	if products != 1000 || len(events) != 1 {
		t.Errorf("%d products are told", products)
	}
}
