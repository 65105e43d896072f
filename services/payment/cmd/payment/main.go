// Command payment runs the service payment.
package main

import (
	"quadrille.internal/platform/service"
	"quadrille.internal/services/payment"
)

func main() { service.Main(payment.Service()) }
