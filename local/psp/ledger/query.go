package ledger

import (
	"maps"

	"quadrille.internal/local/standin/index"
)

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
	acc, ok := l.charges.Get(id)
	if !ok {
		return Charge{}, false
	}
	return acc.current(), true
}

// Charges lists charges as they stand now. Fails with index.ErrUnknownCursor.
func (l *Ledger) Charges(q index.Query) (index.Page[Charge], error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	accounts, err := l.charges.Page(q)
	page := index.Page[Charge]{Data: make([]Charge, 0, len(accounts.Data)), HasMore: accounts.HasMore}
	for _, acc := range accounts.Data {
		page.Data = append(page.Data, acc.current())
	}
	return page, err
}

// Refunds lists refunds. Fails with index.ErrUnknownCursor.
func (l *Ledger) Refunds(q index.Query) (index.Page[Refund], error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.refunds.Page(q)
}

// Summary adds up everything durable at one moment.
func (l *Ledger) Summary() Summary {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return Summary{
		Charges:  l.charges.Len(),
		Refunds:  l.refunds.Len(),
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
