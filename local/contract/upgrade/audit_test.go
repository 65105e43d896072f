package upgrade

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/quad/provider"
	"quadrille.internal/quad/timeline"
	"quadrille.internal/quad/verify"
)

// emptyLedger is that of a payment provider which was never asked.
type emptyLedger struct{}

func (emptyLedger) Charges(context.Context, string) ([]provider.Charge, error) { return nil, nil }
func (emptyLedger) Refunds(context.Context, string) ([]provider.Refund, error) { return nil, nil }

// Today's quad proves the books and tells of orders before the databases are migrated, and
// when an upgrade was given up.
func TestTodaysAuditReadsTheReleaseBefore(t *testing.T) {
	_, previous := recorded(t)
	programs, err := previous.Programs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	databases := map[string]*pgxpool.Pool{}
	for _, name := range withDatabase(t, previous) {
		d := pgtest.New(t)
		migrateBy(t, filepath.Join(programs, name), d)
		databases[name] = d.OpenAuditor(t)
	}
	report, err := verify.Run(t.Context(), verify.Sources{Databases: databases, Provider: emptyLedger{}})
	if err != nil || !report.OK() {
		t.Errorf("%v\n%s", err, &report)
	}
	if _, err := timeline.Read(t.Context(), timeline.Sources{Databases: databases}, uuid.New()); !errors.Is(err, timeline.ErrUnknown) {
		t.Errorf("of an order nobody knows: %v", err)
	}
}
