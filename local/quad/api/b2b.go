package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/google/uuid"

	"quadrille.internal/workflows/b2b/wire"
)

// Company returns a company.
func (c *Client) Company(ctx context.Context, id string) (wire.Company, error) {
	return call[wire.Company](ctx, c.caller, request{method: http.MethodGet, url: c.urls.B2B + companyPath(id)})
}

// SetCompany sets all terms of a company, which need not exist before.
func (c *Client) SetCompany(ctx context.Context, id string, t wire.Terms) (wire.Company, error) {
	return call[wire.Company](ctx, c.caller, request{
		method: http.MethodPut, url: c.urls.B2BAdmin.URL + companyPath(id), header: bearer(c.urls.B2BAdmin.Token), body: t,
	})
}

func companyPath(id string) string { return "/v1/b2b/companies/" + url.PathEscape(id) }

// Submit submits a company's order. The same idempotency key never submits two.
func (c *Client) Submit(ctx context.Context, key string, o wire.NewOrder) (wire.Receipt, error) {
	return call[wire.Receipt](ctx, c.caller, request{
		method: http.MethodPost, url: c.urls.B2B + "/v1/b2b/orders",
		header: map[string]string{"Idempotency-Key": key}, body: o,
	})
}

// CompanyOrder returns an order.
func (c *Client) CompanyOrder(ctx context.Context, id uuid.UUID) (wire.Order, error) {
	return call[wire.Order](ctx, c.caller, request{method: http.MethodGet, url: c.companyOrderURL(id)})
}

// CancelCompanyOrder asks for an order to be cancelled, and returns it as it is then.
func (c *Client) CancelCompanyOrder(ctx context.Context, id uuid.UUID) (wire.Order, error) {
	return call[wire.Order](ctx, c.caller, request{method: http.MethodPost, url: c.companyOrderURL(id) + "/cancel"})
}

// Resume has a compensation that kept failing tried once more.
func (c *Client) Resume(ctx context.Context, id uuid.UUID) (wire.Order, error) {
	return call[wire.Order](ctx, c.caller, request{
		method: http.MethodPost, url: c.urls.B2BAdmin.URL + companyOrderPath(id) + "/resume", header: bearer(c.urls.B2BAdmin.Token),
	})
}

func (c *Client) companyOrderURL(id uuid.UUID) string { return c.urls.B2B + companyOrderPath(id) }

func companyOrderPath(id uuid.UUID) string { return "/v1/b2b/orders/" + id.String() }

// Decide records a decision. The same one may be sent again.
func (c *Client) Decide(ctx context.Context, id uuid.UUID, v wire.Vote) (wire.Poll, error) {
	return call[wire.Poll](ctx, c.caller, request{method: http.MethodPost, url: c.companyOrderURL(id) + "/approval", body: v})
}

// Approvals lists what waits for an approver, soonest to expire first.
func (c *Client) Approvals(ctx context.Context, approver string) ([]wire.Pending, error) {
	list, err := call[wire.Approvals](ctx, c.caller, request{
		method: http.MethodGet, url: c.urls.B2B + "/v1/b2b/approvals?" + url.Values{"approver": {approver}}.Encode(),
	})
	return list.Approvals, err
}

// StuckOrders lists them, the longest stuck first.
func (c *Client) StuckOrders(ctx context.Context) ([]wire.Stuck, error) {
	list, err := call[wire.StuckOrders](ctx, c.caller, request{
		method: http.MethodGet, url: c.urls.B2BAdmin.URL + "/v1/b2b/stuck", header: bearer(c.urls.B2BAdmin.Token),
	})
	return list.Stuck, err
}
