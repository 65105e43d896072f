package identity

import (
	"testing"

	"go.uber.org/goleak"

	"quadrille.internal/platform/servicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(removeMailbox)) }

func TestMigrations(t *testing.T) { servicetest.CheckMigrations(t, migrations) }
