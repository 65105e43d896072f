package identity

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"quadrille.internal/platform/servicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(removeStandIns)) }

func removeStandIns(code int) {
	servicetest.RemoveStandIns()
	os.Exit(code)
}

func TestMigrations(t *testing.T) { servicetest.CheckMigrations(t, migrations) }
