package retail

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"quadrille.internal/events"
)

// Order is what is placed for an invoice.
type Order struct {
	// Key is the idempotency key: made of the invoice's content, so that importing
	// a file again places nothing twice, and a corrected invoice is another order.
	Key      string
	Invoice  string
	Customer string
	Lines    []events.Line
}

// Units is how many units the order asks for.
func (o *Order) Units() (n int64) {
	for _, l := range o.Lines {
		n += l.Quantity
	}
	return n
}

// Orders turns an invoice into orders: one, unless it has more lines than an
// order may have. Then it is split, in the order of its lines: two parcels are
// better than a sale lost, though each is settled by itself. Another run is another
// sale; "" is one as well.
func (inv *Invoice) Orders(run string) []Order {
	var orders []Order
	for part := range slices.Chunk(inv.Lines, events.MaxLines) {
		orders = append(orders, Order{
			Key:      fmt.Sprintf("retail-%s-%d-%s", inv.Number, len(orders)+1, digest(run, inv.Customer, part)),
			Invoice:  inv.Number,
			Customer: inv.Customer,
			Lines:    part,
		})
	}
	return orders
}

func digest(run, customer string, lines []events.Line) string {
	content, err := json.Marshal(lines)
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	sum := sha256.Sum256(append([]byte(run+"\n"+customer+"\n"), content...))
	return hex.EncodeToString(sum[:10])
}

// warehouses that restocking spreads stock over.
var warehouses = []string{"bristol", "dundee", "leeds"}

// Spread divides units of a SKU between two or three warehouses, always in the
// same way. The shares differ by SKU, so that orders of several lines, and the
// last ones of each SKU, draw on several warehouses.
func Spread(sku string, units int64) map[string]int64 {
	sum := sha256.Sum256([]byte(sku))
	first := int(sum[0]) % len(warehouses)
	second := (first + 1) % len(warehouses)
	third := (first + 2) % len(warehouses)
	spread := map[string]int64{warehouses[first]: units - units/2, warehouses[second]: units / 2}
	if sum[1]%2 == 0 {
		spread[warehouses[third]] = units / 5
		spread[warehouses[first]] -= units / 5
	}
	return spread
}
