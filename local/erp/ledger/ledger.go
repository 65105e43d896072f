// Package ledger is the ERP's memory: every order and what became of it, in one
// append-only file.
//
// A line of the file is a wish, and the order of the file decides: of two that
// exclude each other the first is granted and the second is not, now and at
// every replay. A wish is granted only once it is on disk, so that what a
// caller has seen survives any crash unchanged.
package ledger

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"quadrille.internal/local/standin/index"
	"quadrille.internal/local/standin/journal"
)

var (
	// ErrExists reports a conditional create of an external id that has an order.
	ErrExists = errors.New("external id has an order")
	// ErrNoSuchOrder reports an order that does not exist.
	ErrNoSuchOrder = errors.New("no such order")
	// ErrSettled reports an order that ended the other way: shipped or cancelled.
	ErrSettled = errors.New("order is settled")
)

// Status of an order. It leaves StatusOpen once and for good.
type Status string

// The states of an order.
const (
	StatusOpen      Status = "open"
	StatusCancelled Status = "cancelled"
	StatusShipped   Status = "shipped"
)

// Draft is an order as the caller knows it. Amounts are minor units of Currency.
type Draft struct {
	ExternalID string     `json:"external_id"`
	CompanyID  string     `json:"company_id"`
	Currency   string     `json:"currency"`
	Total      int64      `json:"total"`
	Lines      []Line     `json:"lines"`
	Shipments  []Shipment `json:"shipments,omitempty"`
}

// Line is what was sold.
type Line struct {
	SKU       string `json:"sku"`
	Quantity  int64  `json:"quantity"`
	UnitPrice int64  `json:"unit_price"`
}

// Shipment is what one warehouse sends.
type Shipment struct {
	Warehouse string `json:"warehouse"`
	Lines     []Item `json:"lines"`
}

// Item is a part of a shipment.
type Item struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
}

// Order is a draft the ERP has taken on.
type Order struct {
	ID string `json:"id"`
	Draft
	Status  Status `json:"status"`
	Created int64  `json:"created"`           // Unix seconds
	Settled int64  `json:"settled,omitempty"` // when it was shipped or cancelled
}

// entry is one line of the state file; exactly one field is set.
type entry struct {
	Create *creation   `json:"create,omitempty"`
	Settle *settlement `json:"settle,omitempty"`
}

type creation struct {
	Order   Order `json:"order"`
	OnlyNew bool  `json:"only_new,omitempty"`
}

type settlement struct {
	ID string `json:"id"`
	As Status `json:"as"`
	At int64  `json:"at"`
}

// Total adds up one currency, in minor units.
type Total struct {
	Orders    int   `json:"orders"`
	Ordered   int64 `json:"ordered"`
	Cancelled int64 `json:"cancelled"`
}

// Summary adds up the ledger. Fewer external ids than orders means that the
// same order was placed twice.
type Summary struct {
	Orders      int              `json:"orders"`
	ExternalIDs int              `json:"external_ids"`
	Statuses    map[Status]int   `json:"statuses"`
	Totals      map[string]Total `json:"totals"` // by currency
}

// Ledger is safe for concurrent use.
type Ledger struct {
	journal *journal.Journal
	now     func() time.Time

	mu       sync.RWMutex
	orders   index.Index[*Order] // grouped by external id
	statuses map[Status]int
	totals   map[string]Total
}

// Open reads the state file at path, or creates it, and locks it against any
// other server until Close.
func Open(path string, now func() time.Time, log *slog.Logger) (*Ledger, error) {
	l := &Ledger{
		now:      now,
		orders:   index.New[*Order](),
		statuses: map[Status]int{},
		totals:   map[string]Total{},
	}
	j, err := journal.Open(path, log, l.replay)
	if err != nil {
		return nil, err
	}
	l.journal = j
	return l, nil
}

// Close writes what is waiting and gives up the lock.
func (l *Ledger) Close() error { return l.journal.Close() }

// Failed is closed once the state file could not be written. From then on the
// ledger accepts nothing: what reached the disk is known only after a restart.
func (l *Ledger) Failed() <-chan struct{} { return l.journal.Failed() }

// Create takes on an order. With onlyNew it returns the oldest order of the
// same external id and ErrExists when there is one; otherwise it makes another.
func (l *Ledger) Create(d Draft, onlyNew bool) (Order, error) {
	if onlyNew { // spares the disk a wish that cannot be granted
		if existing, ok := l.first(d.ExternalID); ok {
			return existing, ErrExists
		}
	}
	return l.record(entry{Create: &creation{
		Order:   Order{ID: "erp_" + rand.Text(), Draft: d, Status: StatusOpen, Created: l.now().Unix()},
		OnlyNew: onlyNew,
	}})
}

// Settle ends an open order as shipped or cancelled, and returns one that ended
// so before as it is. Fails with ErrNoSuchOrder, or with ErrSettled and the
// order when it ended the other way.
func (l *Ledger) Settle(id string, as Status) (Order, error) {
	order, ok := l.Order(id)
	switch {
	case !ok:
		return Order{}, ErrNoSuchOrder
	case order.Status != StatusOpen:
		return settled(order, as)
	}
	return l.record(entry{Settle: &settlement{ID: id, As: as, At: l.now().Unix()}})
}

func settled(order Order, as Status) (Order, error) {
	if order.Status != as {
		return order, ErrSettled
	}
	return order, nil
}

// Order finds an order as it stands now.
func (l *Ledger) Order(id string) (Order, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return value(l.orders.Get(id))
}

func (l *Ledger) first(externalID string) (Order, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return value(l.orders.First(externalID))
}

func value(order *Order, ok bool) (Order, bool) {
	if !ok {
		return Order{}, false
	}
	return *order, true
}

// Orders lists orders as they stand now, of one external id when the query has
// a group. Fails with index.ErrUnknownCursor.
func (l *Ledger) Orders(q index.Query) (index.Page[Order], error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	found, err := l.orders.Page(q)
	page := index.Page[Order]{Data: make([]Order, 0, len(found.Data)), HasMore: found.HasMore}
	for _, order := range found.Data {
		page.Data = append(page.Data, *order)
	}
	return page, err
}

// Summary adds up everything durable at one moment.
func (l *Ledger) Summary() Summary {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return Summary{
		Orders:      l.orders.Len(),
		ExternalIDs: l.orders.Groups(),
		Statuses:    maps.Clone(l.statuses),
		Totals:      maps.Clone(l.totals),
	}
}

// record returns what became of the wish, once that is durable.
func (l *Ledger) record(e entry) (order Order, refusal error) {
	line, err := json.Marshal(e)
	if err != nil {
		return Order{}, fmt.Errorf("encode entry: %w", err)
	}
	if err := l.journal.Append(line, func() { order, refusal = l.apply(e) }); err != nil {
		return Order{}, fmt.Errorf("write entry: %w", err)
	}
	return order, refusal
}

// replay applies a line read back at start. A line that cannot follow from the
// ones before it means a damaged file, which must not be built upon.
func (l *Ledger) replay(line []byte) error {
	var e entry
	if err := json.Unmarshal(line, &e); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	switch {
	case e.Create != nil:
		if _, used := l.orders.Get(e.Create.Order.ID); used || e.Create.Order.ID == "" {
			return fmt.Errorf("order id %q is empty or used twice", e.Create.Order.ID)
		}
	case e.Settle == nil:
		return errors.New("neither a new order nor the end of one")
	default:
		if _, ok := l.orders.Get(e.Settle.ID); !ok {
			return fmt.Errorf("settle %s: %w", e.Settle.ID, ErrNoSuchOrder)
		}
	}
	_, _ = l.apply(e) // a wish refused then is refused again
	return nil
}

// apply decides about a durable wish and makes its effect visible.
func (l *Ledger) apply(e entry) (Order, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Create != nil {
		return l.applyCreate(*e.Create)
	}
	return l.applySettle(*e.Settle)
}

func (l *Ledger) applyCreate(c creation) (Order, error) {
	if existing, ok := l.orders.First(c.Order.ExternalID); ok && c.OnlyNew {
		return *existing, ErrExists
	}
	order := c.Order
	l.orders.Add(order.ID, order.ExternalID, &order)
	l.statuses[order.Status]++
	total := l.totals[order.Currency]
	total.Orders++
	total.Ordered += order.Total
	l.totals[order.Currency] = total
	return order, nil
}

func (l *Ledger) applySettle(s settlement) (Order, error) {
	order, _ := l.orders.Get(s.ID)
	if order.Status != StatusOpen {
		return settled(*order, s.As)
	}
	l.statuses[order.Status]--
	l.statuses[s.As]++
	order.Status, order.Settled = s.As, s.At
	if s.As == StatusCancelled {
		total := l.totals[order.Currency]
		total.Cancelled += order.Total
		l.totals[order.Currency] = total
	}
	return *order, nil
}
