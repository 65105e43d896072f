package price

import (
	"context"
	"errors"

	"quadrille.internal/events/price"
	"quadrille.internal/services/price/book"
	"quadrille.internal/services/price/pricing"
)

// explain computes a quote again by the book as it was, and tells each step.
func explain(ctx context.Context, db book.DB, given *price.Quote) (*explanation, error) {
	b, err := book.At(ctx, db, given.Version, pricing.BasketOf(given))
	if err != nil {
		return nil, err
	}
	steps, again, err := pricing.Explain(given, b)
	var refused *pricing.Refusal
	if errors.As(err, &refused) { // no such revision, or it was not sold then
		return &explanation{Steps: steps}, nil
	}
	if err != nil {
		return nil, err
	}
	return &explanation{Same: pricing.Same(given, again), Steps: steps}, nil
}
