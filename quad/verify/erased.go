package verify

import (
	"context"
	"fmt"

	customer "quadrille.internal/services/customer/audit"
)

// erased finds customers who are erased and not gone: an event that came late brought one
// back, or a backup did, of which the service that asked for the erasure still knows.
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
	for _, s := range src.services() {
		faults, here, err := s.Residue(ctx, s.DB, everywhere)
		if err != nil {
			return check, fmt.Errorf("%s: %w", s.Name, err)
		}
		check.Checked = max(check.Checked, here)
		for _, f := range faults {
			check.Offenders = append(check.Offenders, Offender{s.Name + " " + f.ID, f.Problem})
		}
	}
	return check, nil
}
