package payment

import "quadrille.internal/events"

// TypeCustomerErased is payment.customer.erased.
const TypeCustomerErased = "payment.customer.erased"

// CustomerErased: nothing that payment keeps names the customer.
type CustomerErased struct{ events.Erased }

// Type is payment.customer.erased.
func (CustomerErased) Type() string { return TypeCustomerErased }
