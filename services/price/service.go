// Package price is the service that says what something costs: lists, promotions, vouchers, quotes.
package price
