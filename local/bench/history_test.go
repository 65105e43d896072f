package bench

import (
	"context"
	"os"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/quad/provider"
	"quadrille.internal/quad/verify"
)

// chargedNobody is a payment provider's ledger.
type chargedNobody struct{}

func (chargedNobody) Charges(context.Context, string) ([]provider.Charge, error) { return nil, nil }
func (chargedNobody) Refunds(context.Context, string) ([]provider.Refund, error) { return nil, nil }

// What is made up must not be told from what happened: the books balance.
func TestHistoryBalances(t *testing.T) {
	pools := map[string]*pgxpool.Pool{}
	for service := range histories {
		pools[service] = pgtest.Owner(t, pgtest.Open(t, os.DirFS("../../services/"+service)))
	}
	const n = historyChunk + 3
	told := 0
	err := Fill(t.Context(), func(service string) string { return pools[service].Config().ConnString() }, n, func(orders int) { told = orders })
	if err != nil || told != n {
		t.Fatalf("filled %d of %d: %v", told, n, err)
	}
	report, err := verify.Run(t.Context(), verify.Sources{
		Databases: pools, Provider: chargedNobody{},
	})
	if err != nil || !report.OK() {
		t.Fatalf("%v %v", err, report.String())
	}
	for _, c := range report.Checks {
		if c.Name == "checkout and order agree" && c.Checked != n {
			t.Errorf("%s: %d %s, want %d", c.Name, c.Checked, c.Unit, n)
		}
	}
}
