package ledger

import (
	"maps"
	"slices"
)

// Query selects a page, oldest first. The order is that of the state file and
// never changes; records made while paging come at the end.
type Query struct {
	StartingAfter string // id of the last record of the page before; "" = from the start
	OrderID       string // "" = all; a refund has the order of its charge
	Limit         int
}

// Page is one page of a list.
type Page[T any] struct {
	Data    []T
	HasMore bool
}

// Total adds up one currency, in minor units.
type Total struct {
	Charges  int   `json:"charges"`
	Refunds  int   `json:"refunds"`
	Charged  int64 `json:"charged"`
	Refunded int64 `json:"refunded"`
}

// Summary adds up the ledger.
type Summary struct {
	Charges  int              `json:"charges"`
	Refunds  int              `json:"refunds"`
	Declines map[string]int   `json:"declines"` // by decline code
	Totals   map[string]Total `json:"totals"`   // by currency
}

// Charge finds a charge as it stands now.
func (l *Ledger) Charge(id string) (Charge, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	acc, ok := l.charges.get(id)
	if !ok {
		return Charge{}, false
	}
	return acc.current(), true
}

// Charges lists charges as they stand now. Fails with ErrUnknownCursor.
func (l *Ledger) Charges(q Query) (Page[Charge], error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	accounts, more, err := l.charges.page(q)
	page := Page[Charge]{Data: make([]Charge, 0, len(accounts)), HasMore: more}
	for _, acc := range accounts {
		page.Data = append(page.Data, acc.current())
	}
	return page, err
}

// Refunds lists refunds. Fails with ErrUnknownCursor.
func (l *Ledger) Refunds(q Query) (Page[Refund], error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	refunds, more, err := l.refunds.page(q)
	return Page[Refund]{Data: refunds, HasMore: more}, err
}

// Summary adds up everything durable at one moment.
func (l *Ledger) Summary() Summary {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return Summary{
		Charges:  len(l.charges.rows),
		Refunds:  len(l.refunds.rows),
		Declines: maps.Clone(l.declines),
		Totals:   maps.Clone(l.totals),
	}
}

func (a *account) current() Charge {
	c := a.charge
	c.AmountRefunded = a.refunded
	return c
}

func (l *Ledger) count(currency string, add Total) {
	t := l.totals[currency]
	t.Charges += add.Charges
	t.Refunds += add.Refunds
	t.Charged += add.Charged
	t.Refunded += add.Refunded
	l.totals[currency] = t
}

// index keeps rows in the order they were added, found by id or by order.
type index[T any] struct {
	rows    []T
	byID    map[string]int
	byOrder map[string][]int // ascending positions in rows
}

func newIndex[T any]() index[T] {
	return index[T]{rows: []T{}, byID: map[string]int{}, byOrder: map[string][]int{}}
}

func (x *index[T]) add(id, orderID string, row T) {
	pos := len(x.rows)
	x.rows = append(x.rows, row)
	x.byID[id] = pos
	if orderID != "" {
		x.byOrder[orderID] = append(x.byOrder[orderID], pos)
	}
}

func (x *index[T]) get(id string) (row T, ok bool) {
	pos, ok := x.byID[id]
	if ok {
		row = x.rows[pos]
	}
	return row, ok
}

func (x *index[T]) page(q Query) (rows []T, more bool, err error) {
	first := 0
	if q.StartingAfter != "" {
		pos, ok := x.byID[q.StartingAfter]
		if !ok {
			return nil, false, ErrUnknownCursor
		}
		first = pos + 1
	}
	if q.OrderID == "" {
		end := min(first+q.Limit, len(x.rows))
		return slices.Clone(x.rows[first:end]), end < len(x.rows), nil
	}
	positions := x.byOrder[q.OrderID]
	from, _ := slices.BinarySearch(positions, first)
	end := min(from+q.Limit, len(positions))
	rows = make([]T, 0, end-from)
	for _, pos := range positions[from:end] {
		rows = append(rows, x.rows[pos])
	}
	return rows, end < len(positions), nil
}
