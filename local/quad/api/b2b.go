package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/workflows/b2b/chain"
)

// Company is a customer that buys on credit. Amounts are minor units of Currency.
type Company struct {
	ID       string `json:"id"`
	Held     int64  `json:"held"`
	Exposure int64  `json:"exposure"`
	Terms
}

// Terms are what a company is set to.
type Terms struct {
	Name        string   `json:"name"`
	Currency    string   `json:"currency"`
	CreditLimit int64    `json:"credit_limit"`
	Warehouses  []string `json:"warehouses"`
	Policy      Policy   `json:"policy"`
}

// Policy says which of a company's orders need whose decision. Durations are
// written as in Go; "" takes the default.
type Policy struct {
	Rules         []Rule       `json:"rules"`
	Approvers     []Approver   `json:"approvers"`
	Delegations   []Delegation `json:"delegations"`
	RemindAfter   string       `json:"remind_after,omitempty"`
	EscalateAfter string       `json:"escalate_after,omitempty"`
	ExpireAfter   string       `json:"expire_after,omitempty"`
}

// Rule wants Need approvals for orders of From and more.
type Rule struct {
	From int64 `json:"from"`
	Need int   `json:"need"`
}

// Approver may decide on orders of up to Limit; level 1 is asked first.
type Approver struct {
	ID    string `json:"id"`
	Limit int64  `json:"limit"`
	Level int    `json:"level"`
}

// Delegation lets To decide in From's place for a while.
type Delegation struct {
	From  string    `json:"from"`
	To    string    `json:"to"`
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

// Company returns a company.
func (c *Client) Company(ctx context.Context, id string) (Company, error) {
	return call[Company](ctx, c.caller, request{method: http.MethodGet, url: c.companyURL(id)})
}

// SetCompany sets all terms of a company, which need not exist before.
func (c *Client) SetCompany(ctx context.Context, id string, t Terms) (Company, error) {
	return call[Company](ctx, c.caller, request{method: http.MethodPut, url: c.companyURL(id), body: t})
}

func (c *Client) companyURL(id string) string {
	return c.urls.B2B + "/v1/b2b/companies/" + url.PathEscape(id)
}

// NewCompanyOrder is what a company wants to buy.
type NewCompanyOrder struct {
	CompanyID      string        `json:"company_id"`
	OrderedBy      string        `json:"ordered_by"`
	Lines          []events.Line `json:"lines"`
	AllowBackorder bool          `json:"allow_backorder"`
}

// CompanyReceipt is the answer to a submitted order, and again the same to a
// repetition.
type CompanyReceipt struct {
	ID          uuid.UUID    `json:"id"`
	Total       events.Money `json:"total"`
	SubmittedAt time.Time    `json:"submitted_at"`
}

// Submit submits a company's order. The same idempotency key never submits two.
func (c *Client) Submit(ctx context.Context, key string, o NewCompanyOrder) (CompanyReceipt, error) {
	return call[CompanyReceipt](ctx, c.caller, request{
		method: http.MethodPost, url: c.urls.B2B + "/v1/b2b/orders",
		header: map[string]string{"Idempotency-Key": key}, body: o,
	})
}

// CompanyOrder is a company's order with the steps of its saga.
type CompanyOrder struct {
	ID           uuid.UUID           `json:"id"`
	CompanyID    string              `json:"company_id"`
	OrderedBy    string              `json:"ordered_by"`
	Status       string              `json:"status"`
	Reason       *events.Reason      `json:"reason,omitempty"`
	Total        events.Money        `json:"total"`
	Lines        []events.Line       `json:"lines"`
	Allocations  []events.Allocation `json:"allocations,omitempty"`
	Backorders   []events.Shortage   `json:"backorders,omitempty"`
	ERPOrderID   string              `json:"erp_order_id,omitempty"`
	Steps        []Step              `json:"steps"`
	WaitsFor     string              `json:"waits_for,omitempty"`
	WaitingSince *time.Time          `json:"waiting_since,omitempty"`
	WaitsUntil   *time.Time          `json:"waits_until,omitempty"`
	SubmittedAt  time.Time           `json:"submitted_at"`
	EndedAt      *time.Time          `json:"ended_at,omitempty"`
	Decisions    []chain.Decision    `json:"decisions,omitempty"`
}

// Step is one step of the saga, forward or undoing.
type Step struct {
	Name      string     `json:"name"`
	Attempts  int        `json:"attempts"`
	Error     string     `json:"error,omitempty"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
	Verdict   *Verdict   `json:"verdict,omitempty"`
}

// Verdict is how a step ended; one that is not OK undoes those before it.
type Verdict struct {
	OK     bool           `json:"ok"`
	Final  string         `json:"final,omitempty"`
	Reason *events.Reason `json:"reason,omitempty"`
}

// CompanyOrder returns an order.
func (c *Client) CompanyOrder(ctx context.Context, id uuid.UUID) (CompanyOrder, error) {
	return call[CompanyOrder](ctx, c.caller, request{method: http.MethodGet, url: c.companyOrderURL(id)})
}

// CancelCompanyOrder asks for an order to be cancelled, and returns it as it is then.
func (c *Client) CancelCompanyOrder(ctx context.Context, id uuid.UUID) (CompanyOrder, error) {
	return call[CompanyOrder](ctx, c.caller, request{method: http.MethodPost, url: c.companyOrderURL(id) + "/cancel"})
}

// Resume has a compensation that kept failing tried once more.
func (c *Client) Resume(ctx context.Context, id uuid.UUID) (CompanyOrder, error) {
	return call[CompanyOrder](ctx, c.caller, request{method: http.MethodPost, url: c.companyOrderURL(id) + "/resume"})
}

func (c *Client) companyOrderURL(id uuid.UUID) string {
	return c.urls.B2B + "/v1/b2b/orders/" + id.String()
}

// Vote is an approver's decision, approve or reject.
type Vote struct {
	Approver string `json:"approver"`
	Decision string `json:"decision"`
	Reason   string `json:"reason"`
}

// Poll is what the decisions on an order have come to.
type Poll struct {
	OrderID   uuid.UUID        `json:"order_id"`
	State     string           `json:"state"`
	Need      int              `json:"need"`
	Decisions []chain.Decision `json:"decisions"`
}

// Decide records a decision. The same one may be sent again.
func (c *Client) Decide(ctx context.Context, id uuid.UUID, v Vote) (Poll, error) {
	return call[Poll](ctx, c.caller, request{method: http.MethodPost, url: c.companyOrderURL(id) + "/approval", body: v})
}

// Pending is an order in an approver's queue.
type Pending struct {
	OrderID    uuid.UUID     `json:"order_id"`
	CompanyID  string        `json:"company_id"`
	OrderedBy  string        `json:"ordered_by"`
	Total      events.Money  `json:"total"`
	Lines      []events.Line `json:"lines"`
	OnBehalfOf string        `json:"on_behalf_of,omitempty"`
	CreditLeft int64         `json:"credit_left"`
	Need       int           `json:"need"`
	Given      int           `json:"given"`
	OnApprove  string        `json:"on_approve"`
	OpenedAt   time.Time     `json:"opened_at"`
	ExpiresAt  time.Time     `json:"expires_at"`
}

// Approvals lists what waits for an approver, soonest to expire first.
func (c *Client) Approvals(ctx context.Context, approver string) ([]Pending, error) {
	list, err := call[struct {
		Approvals []Pending `json:"approvals"`
	}](ctx, c.caller, request{
		method: http.MethodGet, url: c.urls.B2B + "/v1/b2b/approvals?" + url.Values{"approver": {approver}}.Encode(),
	})
	return list.Approvals, err
}

// Stuck is an order whose step takes longer than it should.
type Stuck struct {
	OrderID uuid.UUID `json:"order_id"`
	Status  string    `json:"status"`
	Since   time.Time `json:"since"`
	Why     string    `json:"why"`
}

// StuckOrders lists them, the longest stuck first.
func (c *Client) StuckOrders(ctx context.Context) ([]Stuck, error) {
	list, err := call[struct {
		Stuck []Stuck `json:"stuck"`
	}](ctx, c.caller, request{method: http.MethodGet, url: c.urls.B2B + "/v1/b2b/stuck"})
	return list.Stuck, err
}
