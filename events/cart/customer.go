package cart

import "quadrille.internal/events"

// TypeCustomerErased is cart.customer.erased.
const TypeCustomerErased = "cart.customer.erased"

// CustomerErased: the customer's cart is gone.
type CustomerErased struct{ events.Erased }

// Type is cart.customer.erased.
func (CustomerErased) Type() string { return TypeCustomerErased }
