package price

import (
	"context"
	"fmt"
	"net/http"

	"quadrille.internal/events"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
	"quadrille.internal/services/price/book"
)

const (
	maxPrices = 1_000 // SKUs of a request that sets prices
	maxTiers  = 50
)

// skuPrices are the prices of a SKU in a list, by quantity.
type skuPrices struct {
	SKU   string `json:"sku"`
	Tiers []tier `json:"tiers"`
}

type tier struct {
	MinQuantity int64 `json:"min_quantity"`
	Amount      int64 `json:"amount"`
}

func (s *server) getPrices(w http.ResponseWriter, r *http.Request) error {
	name, err := nameOf(r, "name")
	if err != nil {
		return err
	}
	limit, after, err := rest.ReadPage(r, pages, "", func(c string) (string, error) { return c, events.CheckName("cursor", c) })
	if err != nil {
		return err
	}
	ctx := r.Context()
	if d, err := s.document(ctx, book.KindList, name); err != nil || d == nil {
		return orNotFound(err, book.KindList, name)
	}
	skus, err := s.skusOf(ctx, name, after, limit+1)
	if err != nil {
		return err
	}
	skus, next := rest.CutPage(skus, limit, func(last string) string { return last })
	entries, err := s.entriesOf(ctx, name, skus)
	if err != nil {
		return err
	}
	prices := []skuPrices{}
	for _, e := range entries {
		if n := len(prices); n == 0 || prices[n-1].SKU != e.SKU {
			prices = append(prices, skuPrices{SKU: e.SKU})
		}
		last := &prices[len(prices)-1]
		last.Tiers = append(last.Tiers, tier{e.MinQuantity, e.Amount})
	}
	answer := map[string]any{"prices": prices}
	if next != "" {
		answer["next_cursor"] = next
	}
	return rest.Write(w, http.StatusOK, answer)
}

func orNotFound(err error, kind, name string) error {
	if err != nil {
		return err
	}
	return notFound(kind, name)
}

// putPrices sets the prices of some SKUs of a list. The others stay as they are; a SKU
// without tiers is taken out of the list.
func (s *server) putPrices(w http.ResponseWriter, r *http.Request) error {
	name, err := nameOf(r, "name")
	if err != nil {
		return err
	}
	var req struct {
		Prices []skuPrices `json:"prices"`
	}
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	skus, entries, err := checkPrices(req.Prices)
	if err != nil {
		return err
	}
	revision, err := s.inChange(r.Context(), fmt.Sprintf("put %d prices of list %s", len(skus), name), func(ctx context.Context, c *change) error {
		// The document is read as it is behind the lock of the book: nobody deletes it now.
		rows, err := c.Query(ctx, `select from documents where kind = $1 and name = $2 and until is null`, book.KindList, name)
		if err != nil {
			return err
		}
		exists := rows.Next()
		rows.Close()
		if err := rows.Err(); err != nil || !exists {
			return orNotFound(err, book.KindList, name)
		}
		return c.setPrices(ctx, name, skus, entries)
	})
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusOK, map[string]any{"revision": revision})
}

func checkPrices(prices []skuPrices) (skus []string, entries []book.Entry, err error) {
	if len(prices) == 0 || len(prices) > maxPrices {
		return nil, nil, fault.Field("prices", "out_of_range", "prices are those of 1 to %d SKUs.", maxPrices)
	}
	seen := make(map[string]bool, len(prices))
	for i, p := range prices {
		field := fmt.Sprintf("prices[%d].", i)
		if err := events.CheckName(field+"sku", p.SKU); err != nil {
			return nil, nil, err
		}
		if seen[p.SKU] {
			return nil, nil, fault.Field(field+"sku", "repeated", "A SKU is named once.")
		}
		seen[p.SKU] = true
		skus = append(skus, p.SKU)
		if len(p.Tiers) > maxTiers {
			return nil, nil, fault.Field(field+"tiers", "out_of_range", "A SKU has %d tiers at most.", maxTiers)
		}
		quantities := make(map[int64]bool, len(p.Tiers))
		for j, t := range p.Tiers {
			field := fmt.Sprintf("%stiers[%d].", field, j)
			switch {
			case t.MinQuantity < 1 || t.MinQuantity > events.MaxQuantity:
				return nil, nil, fault.Field(field+"min_quantity", "out_of_range", "min_quantity is a number from 1 to %d.", events.MaxQuantity)
			case quantities[t.MinQuantity]:
				return nil, nil, fault.Field(field+"min_quantity", "repeated", "A quantity has one price.")
			case t.Amount < 0 || t.Amount > events.MaxUnitPrice:
				return nil, nil, fault.Field(field+"amount", "out_of_range", "amount is a number from 0 to %d, in minor units.", events.MaxUnitPrice)
			}
			quantities[t.MinQuantity] = true
			entries = append(entries, book.Entry{SKU: p.SKU, MinQuantity: t.MinQuantity, Amount: t.Amount})
		}
	}
	return skus, entries, nil
}
