// Command inventory runs the service inventory.
package main

import (
	"quadrille.internal/platform/service"
	"quadrille.internal/services/inventory"
)

func main() { service.Main(inventory.Service()) }
