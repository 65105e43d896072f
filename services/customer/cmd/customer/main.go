// Command customer runs the service customer.
package main

import (
	"quadrille.internal/platform/host"
	"quadrille.internal/services/customer"
)

func main() { host.Main(customer.Service()) }
