// Package catalog is the service that owns the products, and finds them.
package catalog
