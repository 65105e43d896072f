// Command cart runs the service cart.
package main

import (
	"quadrille.internal/platform/host"
	"quadrille.internal/services/cart"
)

func main() { host.Main(cart.Service()) }
