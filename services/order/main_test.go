package order

import (
	"testing"

	"go.uber.org/goleak"

	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMigrations(t *testing.T) { servicetest.CheckMigrations(t, migrations) }

// serverOf is the service's handler and routes on a kit.
func serverOf(kit *service.Kit) *server {
	return &server{pool: kit.Pool, outbox: kit.Outbox, api: kit.API}
}
