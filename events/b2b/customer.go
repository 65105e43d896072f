package b2b

import "quadrille.internal/events"

// TypeCustomerErased is b2b.customer.erased.
const TypeCustomerErased = "b2b.customer.erased"

// CustomerErased: no company's policy names the customer any more, and none of the customer's
// orders is open. Who ordered and decided stays in the record.
type CustomerErased struct{ events.Erased }

// Type is b2b.customer.erased.
func (CustomerErased) Type() string { return TypeCustomerErased }
