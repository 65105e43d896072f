package verify

import (
	"context"
	"fmt"

	customer "quadrille.internal/services/customer/audit"
)

// erased finds customers who are erased and not gone: an event that came late brought one
// back, or a backup did. A service knows whom it has erased, and the one that asks for
// erasures of all; of what that one has lost itself, the others know.
func (src *Sources) erased(ctx context.Context) (Check, error) {
	check := Check{Name: "erased customers are gone", Unit: "erased customers"}
	var everywhere [][]byte
	if db := src.Databases["customer"]; db != nil {
		var err error
		if everywhere, err = customer.Erased(ctx, db); err != nil {
			return check, fmt.Errorf("read who is erased: %w", err)
		}
	}
	check.Checked = len(everywhere)
	var anywhere [][]byte
	for _, s := range src.services() {
		faults, here, err := s.Residue(ctx, s.DB, everywhere)
		if err != nil {
			return check, fmt.Errorf("%s: %w", s.Name, err)
		}
		check.Checked = max(check.Checked, len(here))
		anywhere = append(anywhere, here...)
		for _, f := range faults {
			check.Offenders = append(check.Offenders, Offender{s.Name + " " + f.ID, f.Problem})
		}
	}
	if db := src.Databases["customer"]; db != nil {
		restored, err := customer.Restored(ctx, db, anywhere)
		if err != nil {
			return check, fmt.Errorf("look for restored customers: %w", err)
		}
		for _, id := range restored {
			check.Offenders = append(check.Offenders, Offender{"customer " + id, "other services have erased it, and the data is here, as from a backup: ask for the erasure again (quad erasure ask)"})
		}
	}
	return check, nil
}
