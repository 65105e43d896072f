package decisionlog

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"quadrille.internal/events"
)

// orderVersion begins the hash of an order, and what is hashed: another encoding
// gets another version, and those recorded stay what they are.
const orderVersion = "order.v1"

// Order is what an approver decides on: all of an order that was settled when it was
// submitted.
type Order struct {
	ID             uuid.UUID
	CompanyID      string
	OrderedBy      string
	Currency       string
	Amount         int64
	AllowBackorder bool
	Lines          []events.Line
}

// Hash returns the hash of the order, lines in their order. It is computed from what
// is stored, never from what was sent.
func (o *Order) Hash() string {
	fields := []string{
		orderVersion, o.ID.String(), o.CompanyID, o.OrderedBy, o.Currency, strconv.FormatInt(o.Amount, 10),
		strconv.FormatBool(o.AllowBackorder), strconv.Itoa(len(o.Lines)),
	}
	for _, l := range o.Lines {
		fields = append(fields, l.SKU, strconv.FormatInt(l.Quantity, 10), strconv.FormatInt(l.UnitPrice, 10))
	}
	return orderVersion + ":" + digest(fields...)
}

// Current reports whether the decision names the order by a hash of what is stored.
func (d *Decision) Current() bool { return strings.HasPrefix(d.OrderHash, orderVersion+":") }

// CheckOrder reports the first decision that was made on another order than this, or
// on this one as it was not then. requestHash is the order's, which decisions name
// that are older than the hash of orders: of these, it says only that the order is
// the same request's.
func CheckOrder(chain []Decision, o *Order, requestHash string) error {
	hash := o.Hash()
	for _, d := range chain {
		want := hash
		if d.MAC == "" && !d.Current() {
			want = requestHash
		}
		if d.OrderID != o.ID || d.OrderHash != want {
			return fmt.Errorf("decision %d was made on another order than the one that is stored: %w", d.Seq, ErrBroken)
		}
	}
	return nil
}
