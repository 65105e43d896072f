package checkout

import "quadrille.internal/events"

// TypeCustomerErased is checkout.customer.erased.
const TypeCustomerErased = "checkout.customer.erased"

// CustomerErased: the customer's checkouts have another id, and none is open.
type CustomerErased struct{ events.Erased }

// Type is checkout.customer.erased.
func (CustomerErased) Type() string { return TypeCustomerErased }
