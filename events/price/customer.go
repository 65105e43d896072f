package price

import "quadrille.internal/events"

// TypeCustomerErased is price.customer.erased.
const TypeCustomerErased = "price.customer.erased"

// CustomerErased: nothing that price keeps names the customer.
type CustomerErased struct{ events.Erased }

// Type is price.customer.erased.
func (CustomerErased) Type() string { return TypeCustomerErased }
