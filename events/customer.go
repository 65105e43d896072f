package events

import "fmt"

// KindCustomer says that an event is about a customer.
const KindCustomer Kind = "customer"

// OfCustomer is embedded in the payload of each event that is about a customer. The id
// is all that an event has of a person.
type OfCustomer struct {
	CustomerID string `json:"customer_id"`
}

// Subject is the customer's id.
func (c OfCustomer) Subject() string { return c.CustomerID }

// Key is the customer's id.
func (c OfCustomer) Key() string { return c.CustomerID }

// Validate checks that there is a customer.
func (c OfCustomer) Validate() error {
	if !ValidName(c.CustomerID) {
		return fmt.Errorf("customer_id %q is not 1 to 64 of A-Z a-z 0-9 . _ -", c.CustomerID)
	}
	return nil
}

// Erased is embedded in what each holder of a customer's id answers when the customer is
// to be erased. It counts the records that had the id.
type Erased struct {
	OfCustomer
	// Deleted are gone. Pseudonymised have another id, which leads to nobody. Kept have the
	// id, since the law wants them whole; nothing else says any more whose it was.
	Deleted       int64 `json:"deleted"`
	Pseudonymised int64 `json:"pseudonymised"`
	Kept          int64 `json:"kept"`
}

// Erasure is what was done.
func (e *Erased) Erasure() Erased { return *e }

// Validate checks the customer and the counts.
func (e Erased) Validate() error {
	if e.Deleted < 0 || e.Pseudonymised < 0 || e.Kept < 0 {
		return fmt.Errorf("%d deleted, %d pseudonymised, %d kept: want no negative number", e.Deleted, e.Pseudonymised, e.Kept)
	}
	return e.OfCustomer.Validate()
}
