package verify

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	events "quadrille.internal/events/price"
	checkout "quadrille.internal/services/checkout/audit"
	price "quadrille.internal/services/price/audit"
)

// quotes computes again what orders by quote cost, from the price book as it was when they
// were quoted. Neither the quotes nor that book ever change, so that nothing need be read
// again.
func (src *Sources) quotes(ctx context.Context) (Check, error) {
	check := Check{Name: "every quote says what the price book said", Unit: "orders by quote"}
	db := src.Databases["price"]
	if db == nil {
		return check, nil
	}
	recomputer := price.NewRecomputer(db)
	err := checkout.Quotes(ctx, src.Databases["checkout"], func(order uuid.UUID, q *events.Quote) error {
		check.Checked++
		problem, err := recomputer.Check(ctx, q)
		if err != nil {
			return fmt.Errorf("compute the quote of order %s again: %w", order, err)
		}
		if problem != "" {
			check.Offenders = append(check.Offenders, Offender{order.String(), problem})
		}
		return nil
	})
	if err != nil {
		return check, fmt.Errorf("read the quotes of orders: %w", err)
	}
	return check, nil
}
