package b2b

import (
	"strings"
	"testing"

	"quadrille.internal/platform/fault"
	"quadrille.internal/workflows/b2b/wire"
)

// A name that the database cannot hold is the caller's fault, and not ours.
func TestNamesOfCompanies(t *testing.T) {
	for name, want := range map[string]string{
		"ACME Ltd": "", "Åkerlund & Söner": "", "": "name", strings.Repeat("x", 201): "name", "AC\x00ME": "name", "AC\nME": "name",
	} {
		terms := wire.Terms{Name: name, Currency: "GBP", Warehouses: []string{"leeds"}}
		got := ""
		if err := checkTerms(&terms); err != nil {
			got = fault.Of(err).Field
		}
		if got != want && (got == "name" || want == "name") {
			t.Errorf("%q: the fault is in %q, want %q", name, got, want)
		}
	}
}
