package inventory

import "quadrille.internal/events"

// TypeCustomerErased is inventory.customer.erased.
const TypeCustomerErased = "inventory.customer.erased"

// CustomerErased: nothing that inventory keeps names the customer.
type CustomerErased struct{ events.Erased }

// Type is inventory.customer.erased.
func (CustomerErased) Type() string { return TypeCustomerErased }
