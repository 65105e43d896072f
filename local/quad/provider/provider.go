// Package provider reads the payment provider's ledger, a third party's word on
// who was charged and refunded.
package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	pageSize    = 1000
	callTimeout = 15 * time.Second
)

// Charge is a charge that succeeded. Amount is in minor units.
type Charge struct {
	ID       string `json:"id"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
	Metadata struct {
		OrderID string `json:"order_id"`
	} `json:"metadata"`
}

// Refund is a refund that succeeded, of one charge.
type Refund struct {
	ID     string `json:"id"`
	Charge string `json:"charge"`
	Amount int64  `json:"amount"`
}

// Client reads the ledger.
type Client struct {
	url, key string
	http     *http.Client
}

// New returns a client of the provider at an address; key authenticates it.
func New(address, key string) *Client {
	return &Client{url: address, key: key, http: &http.Client{Timeout: callTimeout, Transport: &http.Transport{}}}
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Charges returns all charges made after the one with the given id, oldest first;
// "" begins at the beginning.
func (c *Client) Charges(ctx context.Context, after string) ([]Charge, error) {
	return list(ctx, c, "/v1/charges", after, func(e Charge) string { return e.ID })
}

// Refunds does the same for refunds.
func (c *Client) Refunds(ctx context.Context, after string) ([]Refund, error) {
	return list(ctx, c, "/v1/refunds", after, func(e Refund) string { return e.ID })
}

func list[T any](ctx context.Context, c *Client, path, after string, id func(T) string) ([]T, error) {
	var all []T
	for {
		query := url.Values{"limit": {strconv.Itoa(pageSize)}}
		if after != "" {
			query.Set("starting_after", after)
		}
		var page struct {
			Data    []T  `json:"data"`
			HasMore bool `json:"has_more"`
		}
		if err := c.get(ctx, path+"?"+query.Encode(), &page); err != nil {
			return nil, err
		}
		all = append(all, page.Data...)
		if !page.HasMore || len(page.Data) == 0 {
			return all, nil
		}
		after = id(page.Data[len(page.Data)-1])
	}
}

func (c *Client) get(ctx context.Context, path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("payment provider: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("payment provider: %s to GET %s", res.Status, path)
	}
	if err := json.NewDecoder(res.Body).Decode(v); err != nil {
		return fmt.Errorf("payment provider: GET %s: %w", path, err)
	}
	return nil
}
