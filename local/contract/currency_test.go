package contract

import (
	"slices"
	"testing"

	"golang.org/x/text/currency"
	"quadrille.internal/events"
)

// x/text has the currencies of CLDR 32, of 2017.
var (
	newerCurrencies = []string{"MRU", "SLE", "VED", "VES", "XCG", "ZWG"}
	// The lev, the kuna, the Antillean guilder and others were given up since.
	endedCurrencies = []string{"ANG", "BGN", "CUC", "HRK", "MRO", "SLL", "VEF"}
	// Active by ISO 4217; CLDR calls the colón a currency of the past.
	otherwiseInCLDR = []string{"SVC"}
	// CLDR has no digits where people use none; ISO 4217 has, and so have providers.
	withoutCoins = []string{
		"AFN", "ALL", "AMD", "COP", "GYD", "IDR", "IQD", "IRR", "KPW", "LAK", "LBP", "MGA",
		"MMK", "MNT", "MUR", "PKR", "RSD", "SOS", "SYP", "TZS", "UZS", "YER",
	}
)

// The list of currencies in events is ours, so that events bring nothing along. It says
// what a list that others keep says.
func TestCurrenciesAreThoseOfISO4217(t *testing.T) {
	current := map[string]bool{}
	for regions := currency.Query(); regions.Next(); {
		current[regions.Unit().String()] = true
	}
	for code := range current {
		if events.ValidCurrency(code) == slices.Contains(endedCurrencies, code) {
			t.Errorf("%s is valid: %v", code, events.ValidCurrency(code))
		}
	}
	for code := range codes {
		if !events.ValidCurrency(code) {
			continue
		}
		unit, err := currency.ParseISO(code)
		if (err != nil) != slices.Contains(newerCurrencies, code) {
			t.Errorf("%s: %v", code, err)
		}
		if err != nil {
			continue
		}
		if current[code] == slices.Contains(otherwiseInCLDR, code) {
			t.Errorf("%s is valid, and in use by CLDR: %v", code, current[code])
		}
		want, _ := currency.Standard.Rounding(unit)
		got := events.MinorUnits(code)
		if (got != want) != slices.Contains(withoutCoins, code) || got != want && want != 0 {
			t.Errorf("%s has %d digits, want %d", code, got, want)
		}
	}
}

// codes yields all that could be one.
func codes(yield func(string) bool) {
	for n := range 26 * 26 * 26 {
		if !yield(string([]byte{'A' + byte(n/676), 'A' + byte(n/26%26), 'A' + byte(n%26)})) {
			return
		}
	}
}
