package services_test

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"quadrille.internal/platform/servicetest"
	"quadrille.internal/platform/transport"
)

// Stock goes all the way from a warehouse to a browser, in one process: inventory reads it,
// streams it to cart, cart to the browser. An end of the process does not wait for either
// stream, though neither would end by itself.
func TestStockReachesBrowsers(t *testing.T) {
	p := newProcess(t, "inventory", "cart")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	watch := func() *bufio.Scanner {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.addr("cart", "HTTP_ADDR")+"/v1/carts/stock?sku=TEA", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		return bufio.NewScanner(res.Body)
	}
	lines := watch()
	until := func(part string) {
		t.Helper()
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "data: ") && strings.Contains(lines.Text(), part) {
				return
			}
		}
		t.Fatalf("the stream ended before it told %s: %v", part, lines.Err())
	}
	until(`"available":null`)
	p.stock("TEA", 40)
	until(`"available":40`)
	url := "http://" + p.addr("inventory", "ADMIN_ADDR") + "/v1/stock/TEA/adjustments"
	if status, answer := p.request(http.MethodPost, url, `{"reason":"broken","warehouses":[{"warehouse":"leeds","delta":-33}]}`, "Idempotency-Key", "k"); status != http.StatusOK {
		t.Fatalf("adjust the stock: %d %s", status, answer)
	}
	until(`"available":7`)

	// A process that waits for streams does so at each stop; on a machine that is busy one may
	// take as long anyhow.
	servicetest.Await(t, "the process stops without waiting for streams", func() bool {
		began := time.Now()
		p.stop(os.Interrupt)
		took := time.Since(began)
		for lines.Scan() { // to the end
		}
		p.start()
		lines = watch()
		until(`"available":7`)
		return took <= transport.StopTimeout
	})
}
