package api

import (
	"context"
	"net/http"
	"net/url"

	"quadrille.internal/services/customer/wire"
)

// Erasures lists the customers who wait to be erased, until all services have answered.
func (a *Admin) Erasures(ctx context.Context) ([]wire.Erasure, error) {
	all := []wire.Erasure{}
	query := url.Values{"limit": {"200"}}
	for {
		page, err := call[wire.Erasures](ctx, a.sender, a.access.request(http.MethodGet, "/v1/erasures?"+query.Encode()))
		if err != nil {
			return nil, err
		}
		all = append(all, page.Erasures...)
		if page.Next == "" {
			return all, nil
		}
		query.Set("cursor", page.Next)
	}
}

// Erase asks for the erasure of a customer.
func (a *Admin) Erase(ctx context.Context, customerID string) (wire.Erasure, error) {
	return call[wire.Erasure](ctx, a.sender, a.access.request(http.MethodDelete, "/v1/customers/"+url.PathEscape(customerID)))
}
