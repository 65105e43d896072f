// Command order runs the service order.
package main

import (
	"quadrille.internal/platform/service"
	"quadrille.internal/services/order"
)

func main() { service.Main(order.Service()) }
