// Command checkout runs the service checkout.
package main

import (
	"quadrille.internal/platform/service"
	"quadrille.internal/services/checkout"
)

func main() { service.Main(checkout.Service()) }
