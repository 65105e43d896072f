package checkout

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMigrations(t *testing.T) { servicetest.CheckMigrations(t, migrations) }

var epoch = time.Date(2024, 6, 14, 9, 30, 0, 0, time.UTC)

const goodBody = `{"customer_id":"customer-17850","currency":"GBP","payment_token":"tok_success",` +
	`"lines":[{"sku":"85123A","quantity":6,"unit_price":255},{"sku":"71053","quantity":1,"unit_price":339}]}`

// fixture is the service on a database of its own.
type fixture struct {
	kit *service.Kit
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	return fixture{servicetest.NewKit(t, Service())}
}

// replica runs one process of the service.
func (f fixture) replica(t *testing.T) *servicetest.Client {
	t.Helper()
	p := newPlacer(f.kit.Pool, f.kit.Outbox)
	servicetest.Run(t, p.run)
	return servicetest.Serve(t, (&server{pool: f.kit.Pool, placer: p, api: f.kit.API}).routes)
}

// checkPlaced checks how many checkouts there are, each announced once.
func (f fixture) checkPlaced(t *testing.T, want int) {
	t.Helper()
	all, err := checkouts.Select(t.Context(), f.kit.Pool, "")
	if err != nil {
		t.Fatal(err)
	}
	announced := servicetest.Emitted(t, f.kit.Pool)
	if len(all) != want || len(announced) != want {
		t.Errorf("%d checkouts, %d orders announced, want %d of each", len(all), len(announced), want)
	}
	for _, c := range all {
		if n := len(announced[c.ID]); n != 1 {
			t.Errorf("checkout %s is announced %d times", c.ID, n)
		}
	}
}

// place places an order through the API and returns its id.
func place(t *testing.T, api *servicetest.Client) uuid.UUID {
	t.Helper()
	a := api.Do("POST", "/v1/checkouts", goodBody, "Idempotency-Key", fmt.Sprint(uuid.New()))
	id, err := uuid.Parse(a.Header.Get("Location")[len("/v1/checkouts/"):])
	if err != nil {
		t.Fatalf("place: %d %s: %v", a.Status, a.Body, err)
	}
	return id
}
