package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/google/uuid"

	"quadrille.internal/services/payment/wire"
)

// RefusedPayments lists the payments that the provider refuses, of the oldest
// orders first.
func (a *Admin) RefusedPayments(ctx context.Context) ([]wire.Payment, error) {
	all := []wire.Payment{}
	query := url.Values{"status": {"refused"}, "limit": {"200"}}
	for {
		page, err := call[wire.Payments](ctx, a.sender, a.access.request(http.MethodGet, "/v1/payments?"+query.Encode()))
		if err != nil {
			return nil, err
		}
		all = append(all, page.Payments...)
		if page.Next == "" {
			return all, nil
		}
		query.Set("cursor", page.Next)
	}
}

// Payment returns the payment of an order.
func (a *Admin) Payment(ctx context.Context, order uuid.UUID) (wire.Payment, error) {
	return call[wire.Payment](ctx, a.sender, a.access.request(http.MethodGet, "/v1/payments/"+order.String()))
}

// ResumePayment has the provider asked once more for what it refused.
func (a *Admin) ResumePayment(ctx context.Context, order uuid.UUID) (wire.Payment, error) {
	return call[wire.Payment](ctx, a.sender, a.access.request(http.MethodPost, "/v1/payments/"+order.String()+"/resume"))
}
