package identity

import "quadrille.internal/events"

// TypeCustomerErased is identity.customer.erased.
const TypeCustomerErased = "identity.customer.erased"

// CustomerErased: the customer's account is gone, with all by which the customer signed in.
type CustomerErased struct{ events.Erased }

// Type is identity.customer.erased.
func (CustomerErased) Type() string { return TypeCustomerErased }
