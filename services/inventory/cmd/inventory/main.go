// Command inventory runs the service inventory.
package main

import (
	"quadrille.internal/platform/host"
	"quadrille.internal/services/inventory"
)

func main() { host.Main(inventory.Service()) }
