package retail

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
)

// Amount counts lines and adds up their value, exactly: prices in the wild have
// more decimals than money.
type Amount struct {
	Lines int
	Value *big.Rat // pounds; lines that cannot be read have none
}

func (a *Amount) add(value *big.Rat) {
	a.Lines++
	if value != nil {
		a.Value.Add(a.Value, value)
	}
}

// Pounds writes the value.
func (a Amount) Pounds() string { return pounds(a.Value) }

// Tally accounts for a file: what was read is what was ordered and what was
// rejected.
type Tally struct {
	Lines    int
	Value    *big.Rat
	Ordered  Amount
	Rejected map[Reason]*Amount
	Invoices struct {
		Read, Ordered, Rejected int
		Partly                  int // of those ordered, with lines rejected
	}
}

func newTally() Tally {
	return Tally{Value: new(big.Rat), Ordered: Amount{Value: new(big.Rat)}, Rejected: make(map[Reason]*Amount)}
}

func (t *Tally) reject(r Reason, value *big.Rat) {
	if t.Rejected[r] == nil {
		t.Rejected[r] = &Amount{Value: new(big.Rat)}
	}
	t.Rejected[r].add(value)
}

// Reasons lists the reasons that occurred, the most frequent first.
func (t *Tally) Reasons() []Reason {
	return slices.SortedFunc(maps.Keys(t.Rejected), func(a, b Reason) int {
		return cmp.Or(cmp.Compare(t.Rejected[b].Lines, t.Rejected[a].Lines), cmp.Compare(a, b))
	})
}

// Read is the whole file.
func (t *Tally) Read() Amount { return Amount{t.Lines, t.Value} }

// AllRejected adds up what was rejected for whatever reason.
func (t *Tally) AllRejected() Amount {
	all := Amount{Value: new(big.Rat)}
	for _, a := range t.Rejected {
		all.Lines += a.Lines
		all.Value.Add(all.Value, a.Value)
	}
	return all
}

// Check proves that the tally adds up to the file, in lines and in value. Both
// sides are counted independently, so that a fault would be one of this program.
func (t *Tally) Check(f *File) error {
	rejected := t.AllRejected()
	lines, value := t.Ordered.Lines+rejected.Lines, new(big.Rat).Add(t.Ordered.Value, rejected.Value)
	inOrders, pence := 0, new(big.Rat)
	for _, inv := range f.Invoices {
		inOrders += len(inv.Lines)
		for _, l := range inv.Lines {
			pence.Add(pence, big.NewRat(l.Quantity*l.UnitPrice, 100))
		}
	}
	switch {
	case lines != t.Lines || inOrders != t.Ordered.Lines || len(f.Rejects) != lines-inOrders:
		return fmt.Errorf("%d lines were read, but %d are in orders and %d rejected", t.Lines, inOrders, len(f.Rejects))
	case value.Cmp(t.Value) != 0 || pence.Cmp(t.Ordered.Value) != 0:
		return fmt.Errorf("the file is worth %s, but orders and rejects %s", pounds(t.Value), pounds(value))
	case t.Invoices.Ordered+t.Invoices.Rejected != t.Invoices.Read || t.Invoices.Rejected < 0:
		return errors.New("some invoice is neither ordered nor rejected")
	}
	return nil
}
