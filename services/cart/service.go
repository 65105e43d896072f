// Package cart is the service that keeps carts, and shows their stock as it changes.
package cart
