package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/google/uuid"

	"quadrille.internal/platform/caller"
	"quadrille.internal/workflows/b2b/wire"
)

// Company returns a company.
func (c *Client) Company(ctx context.Context, id string) (wire.Company, error) {
	return call[wire.Company](ctx, c.sender, c.urls.B2BAdmin.request(http.MethodGet, companyPath(id)))
}

// SetCompany sets all terms of a company, which need not exist before.
func (c *Client) SetCompany(ctx context.Context, id string, t wire.Terms) (wire.Company, error) {
	r := c.urls.B2BAdmin.request(http.MethodPut, companyPath(id))
	r.body = t
	return call[wire.Company](ctx, c.sender, r)
}

func companyPath(id string) string { return "/v1/b2b/companies/" + url.PathEscape(id) }

// Submit submits a company's order. The same idempotency key never submits two.
func (c *Client) Submit(ctx context.Context, key string, o wire.NewOrder) (wire.Receipt, error) {
	by := caller.Caller{ID: o.OrderedBy, Company: o.CompanyID}
	r := c.as(ctx, by, c.urls.B2B.request(http.MethodPost, "/v1/b2b/orders").with(map[string]string{"Idempotency-Key": key}))
	r.body = o
	return call[wire.Receipt](ctx, c.sender, r)
}

// CompanyOrder returns an order.
func (c *Client) CompanyOrder(ctx context.Context, id uuid.UUID) (wire.Order, error) {
	return call[wire.Order](ctx, c.sender, c.urls.B2BAdmin.request(http.MethodGet, companyOrderPath(id)))
}

// CancelCompanyOrder asks for an order to be cancelled, and returns it as it is then.
func (c *Client) CancelCompanyOrder(ctx context.Context, id uuid.UUID) (wire.Order, error) {
	return call[wire.Order](ctx, c.sender, c.urls.B2BAdmin.request(http.MethodPost, companyOrderPath(id)+"/cancel"))
}

// Resume has a compensation that kept failing tried once more.
func (c *Client) Resume(ctx context.Context, id uuid.UUID) (wire.Order, error) {
	return call[wire.Order](ctx, c.sender, c.urls.B2BAdmin.request(http.MethodPost, companyOrderPath(id)+"/resume"))
}

func companyOrderPath(id uuid.UUID) string { return "/v1/b2b/orders/" + id.String() }

// Decide records a decision on an order, in the name of somebody of its company. The
// same one may be sent again.
func (c *Client) Decide(ctx context.Context, id uuid.UUID, v wire.Vote) (wire.Poll, error) {
	order, err := c.CompanyOrder(ctx, id)
	if err != nil {
		return wire.Poll{}, err
	}
	by := caller.Caller{ID: v.Approver, Company: order.CompanyID, Scopes: []string{caller.ScopeApprover}}
	r := c.as(ctx, by, c.urls.B2B.request(http.MethodPost, companyOrderPath(id)+"/approval"))
	r.body = v
	return call[wire.Poll](ctx, c.sender, r)
}

// Approvals lists what waits for an approver, soonest to expire first: up to
// most, or all where that is 0.
func (c *Client) Approvals(ctx context.Context, approver string, most int) ([]wire.Pending, error) {
	return listApprovals(ctx, c.sender, c.urls.B2BAdmin, url.Values{"approver": {approver}}, most)
}

func listApprovals(ctx context.Context, s sender, at Access, query url.Values, most int) ([]wire.Pending, error) {
	all := []wire.Pending{}
	for most == 0 || len(all) < most {
		if most > 0 {
			query.Set("limit", strconv.Itoa(min(pageSize, most-len(all))))
		}
		page, err := call[wire.Approvals](ctx, s, at.request(http.MethodGet, "/v1/b2b/approvals?"+query.Encode()))
		if err != nil {
			return nil, err
		}
		all = append(all, page.Approvals...)
		if page.Next == "" {
			break
		}
		query.Set("cursor", page.Next)
	}
	return all, nil
}

// StuckOrders lists them, the longest stuck first.
func (c *Client) StuckOrders(ctx context.Context) ([]wire.Stuck, error) {
	list, err := call[wire.StuckOrders](ctx, c.sender, c.urls.B2BAdmin.request(http.MethodGet, "/v1/b2b/stuck"))
	return list.Stuck, err
}
