package provider

import (
	"context"
	"net/http"
	"net/url"

	"github.com/google/uuid"
)

// ERPOrder is an order in the ERP's books. Total is in minor units.
type ERPOrder struct {
	ID         string    `json:"id"`
	ExternalID uuid.UUID `json:"external_id"`
	Currency   string    `json:"currency"`
	Total      int64     `json:"total"`
	Status     string    `json:"status"`
}

// ERP reads the books of the ERP.
type ERP struct{ books }

// NewERP returns a client of the ERP at an address; key authenticates it.
func NewERP(address, key string) *ERP {
	return &ERP{books{name: "ERP", url: address, key: key, http: &http.Client{Timeout: callTimeout, Transport: &http.Transport{}}}}
}

// Orders returns all orders, oldest first.
func (e *ERP) Orders(ctx context.Context) ([]ERPOrder, error) {
	return list(ctx, &e.books, "/v1/orders", nil, "", func(o ERPOrder) string { return o.ID })
}

// Try reports whether the ERP answers and takes the key.
func (e *ERP) Try(ctx context.Context) error { return e.try(ctx, "/v1/orders") }

// OrdersOf returns those with our id.
func (e *ERP) OrdersOf(ctx context.Context, id uuid.UUID) ([]ERPOrder, error) {
	return list(ctx, &e.books, "/v1/orders", url.Values{"external_id": {id.String()}}, "", func(o ERPOrder) string { return o.ID })
}
