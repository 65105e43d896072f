// Package provider reads the books of third parties: the payment provider's word on
// who was charged and refunded, and the ERP's on what was ordered.
package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
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

// Client reads the payment provider's ledger.
type Client struct{ books }

// books are a third party's, as lists of one kind of entry.
type books struct {
	name, url, key string
	http           *http.Client
}

// New returns a client of the provider at an address; key authenticates it.
func New(address, key string) *Client {
	return &Client{books{name: "payment provider", url: address, key: key, http: &http.Client{Timeout: callTimeout, Transport: &http.Transport{}}}}
}

// Close ends idle connections.
func (b *books) Close() { b.http.CloseIdleConnections() }

// Charges returns all charges made after the one with the given id, oldest first;
// "" begins at the beginning.
func (c *Client) Charges(ctx context.Context, after string) ([]Charge, error) {
	return list(ctx, &c.books, "/v1/charges", nil, after, func(e Charge) string { return e.ID })
}

// Refunds does the same for refunds.
func (c *Client) Refunds(ctx context.Context, after string) ([]Refund, error) {
	return list(ctx, &c.books, "/v1/refunds", nil, after, func(e Refund) string { return e.ID })
}

// Try reports whether the ledger answers and takes the key.
func (c *Client) Try(ctx context.Context) error { return c.try(ctx, "/v1/charges") }

func (b *books) try(ctx context.Context, path string) error {
	return b.get(ctx, path+"?limit=1", new(struct{}))
}

// list returns the entries after one, of those that a filter leaves.
func list[T any](ctx context.Context, b *books, path string, filter url.Values, after string, id func(T) string) ([]T, error) {
	var all []T
	query := url.Values{"limit": {strconv.Itoa(pageSize)}}
	maps.Copy(query, filter)
	for {
		if after != "" {
			query.Set("starting_after", after)
		}
		var page struct {
			Data    []T  `json:"data"`
			HasMore bool `json:"has_more"`
		}
		if err := b.get(ctx, path+"?"+query.Encode(), &page); err != nil {
			return nil, err
		}
		all = append(all, page.Data...)
		if !page.HasMore || len(page.Data) == 0 {
			return all, nil
		}
		after = id(page.Data[len(page.Data)-1])
	}
}

func (b *books) get(ctx context.Context, path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(b.url, "/")+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+b.key)
	res, err := b.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", b.name, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s to GET %s", b.name, res.Status, path)
	}
	if err := json.NewDecoder(res.Body).Decode(v); err != nil {
		return fmt.Errorf("%s: GET %s: %w", b.name, path, err)
	}
	return nil
}
