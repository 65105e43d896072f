package visit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"quadrille.internal/quad/api"
	"quadrille.internal/quad/installation"
)

// Operator puts things on sale.
type Operator struct {
	catalog, price api.Access
	http           http.Client
}

// OperatorOf is who operates an installation.
func OperatorOf(r *installation.Installation) (*Operator, error) {
	o := &Operator{catalog: r.AdminPort("catalog"), price: r.AdminPort("price"), http: http.Client{Timeout: callTimeout}}
	return o, errors.Join(o.catalog.Err, o.price.Err)
}

// Product is what an operator sells.
type Product struct {
	SKU, Title, Description string
	// Price of a piece, without tax, in pence.
	Price int64
}

// Open has the shop's price list, shipping and tax. It may be repeated.
func (o *Operator) Open(ctx context.Context) error {
	for path, body := range map[string]map[string]any{
		"/v1/prices/lists/visits":    {"currency": Currency},
		"/v1/prices/shipping/visits": {"region": Region, "currency": Currency, "amount": 395, "free_from": 10_000},
		"/v1/prices/taxes/visits":    {"region": Region, "rate": 200_000},
	} {
		if err := o.put(ctx, o.price, path, body); err != nil {
			return fmt.Errorf("open the shop: %w", err)
		}
	}
	return nil
}

// Sell publishes a product and its price.
func (o *Operator) Sell(ctx context.Context, p Product) error {
	if err := o.Reprice(ctx, p.SKU, p.Price); err != nil {
		return err
	}
	none := []string{}
	err := o.put(ctx, o.catalog, "/v1/products/"+url.PathEscape(p.SKU), map[string]any{
		"state": "published", "title": p.Title, "description": p.Description, "categories": none, "attributes": none, "media": none,
		"variants": []map[string]any{{"sku": p.SKU, "title": p.Title, "attributes": none}},
	}, "If-None-Match", "*")
	if err != nil {
		return fmt.Errorf("publish %s: %w", p.SKU, err)
	}
	return nil
}

// Reprice says what a piece costs from now on.
func (o *Operator) Reprice(ctx context.Context, sku string, amount int64) error {
	err := o.put(ctx, o.price, "/v1/prices/lists/visits/prices", map[string]any{
		"prices": []map[string]any{{"sku": sku, "tiers": []map[string]any{{"min_quantity": 1, "amount": amount}}}},
	})
	if err != nil {
		return fmt.Errorf("price %s: %w", sku, err)
	}
	return nil
}

// Voucher takes a tenth off an order, so many times.
func (o *Operator) Voucher(ctx context.Context, code string, uses int64) error {
	err := o.put(ctx, o.price, "/v1/vouchers/"+url.PathEscape(code), map[string]any{
		"max_uses": uses, "kind": "order_percentage", "rate": 100_000,
	})
	if err != nil {
		return fmt.Errorf("make voucher %s: %w", code, err)
	}
	return nil
}

func (o *Operator) put(ctx context.Context, at api.Access, path string, body any, header ...string) error {
	r := request{method: http.MethodPut, url: at.URL + path, body: body, header: map[string]string{"Authorization": "Bearer " + at.Token}}
	for i := 0; i+1 < len(header); i += 2 {
		r.header[header[i]] = header[i+1]
	}
	_, err := call[any](ctx, &o.http, r)
	return err
}
