// Package books lists what each service lets auditors read of its database.
package books

import (
	"maps"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/audit"
	// quad generate: imports
	cart "quadrille.internal/services/cart/audit"
	catalog "quadrille.internal/services/catalog/audit"
	checkout "quadrille.internal/services/checkout/audit"
	customer "quadrille.internal/services/customer/audit"
	identity "quadrille.internal/services/identity/audit"
	inventory "quadrille.internal/services/inventory/audit"
	order "quadrille.internal/services/order/audit"
	payment "quadrille.internal/services/payment/audit"
	price "quadrille.internal/services/price/audit"
	b2b "quadrille.internal/workflows/b2b/audit"
	// quad generate: end
)

// A Service is known by its name, which is that of its database too.
type Service struct {
	Name string
	audit.Books
}

// All are those of the list of services, in its order.
func All() []Service {
	return []Service{
		// quad generate: services
		{"checkout", checkout.Books},
		{"inventory", inventory.Books},
		{"payment", payment.Books},
		{"order", order.Books},
		{"b2b", b2b.Books},
		{"identity", identity.Books},
		{"cart", cart.Books},
		{"catalog", catalog.Books},
		{"customer", customer.Books},
		{"price", price.Books},
		// quad generate: end
	}
}

// An Open service is one whose database can be read.
type Open struct {
	Service
	DB *pgxpool.Pool
}

// In are the services that have one of the databases, which are known by their service's
// name. Of one that is not in the list, no more is known than the kit's tables.
func In(databases map[string]*pgxpool.Pool, list []Service) (found []Open) {
	for _, service := range list {
		if db := databases[service.Name]; db != nil {
			found = append(found, Open{service, db})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(databases)) {
		listed := slices.ContainsFunc(list, func(s Service) bool { return s.Name == name })
		if db := databases[name]; db != nil && !listed {
			found = append(found, Open{Service{Name: name}, db})
		}
	}
	return found
}
