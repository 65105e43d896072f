// Command order runs the service order.
package main

import (
	"quadrille.internal/platform/host"
	"quadrille.internal/services/order"
)

func main() { host.Main(order.Service()) }
