package visit

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Level is what a browser is told of a SKU.
type Level struct {
	SKU string `json:"sku"`
	// Available is nil where nothing is known yet.
	Available *int64 `json:"available"`
}

// Watch calls told with each level of a SKU that the shop pushes, until told returns false,
// ctx ends or the connection does.
func (c *Customer) Watch(ctx context.Context, sku string, told func(Level) bool) error {
	path := "/v1/carts/stock?sku=" + url.QueryEscape(sku)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.shop.gateway+path, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.session.Access)
	req.Header.Set("Accept", "text/event-stream")
	res, err := c.shop.streams.Do(req)
	if err != nil {
		return fmt.Errorf("watch %s: %w", sku, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("watch %s: %s", sku, res.Status)
	}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var frame struct {
			Levels []Level `json:"levels"`
		}
		if err := json.Unmarshal([]byte(data), &frame); err != nil {
			return fmt.Errorf("watch %s: %w", sku, err)
		}
		for _, level := range frame.Levels {
			if !told(level) {
				return nil
			}
		}
	}
	return lines.Err()
}
