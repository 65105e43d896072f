package order

import "quadrille.internal/events"

// TypeCustomerErased is order.customer.erased.
const TypeCustomerErased = "order.customer.erased"

// CustomerErased: the customer's orders have another id, and none is open.
type CustomerErased struct{ events.Erased }

// Type is order.customer.erased.
func (CustomerErased) Type() string { return TypeCustomerErased }
