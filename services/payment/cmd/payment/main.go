// Command payment runs the service payment.
package main

import (
	"quadrille.internal/platform/host"
	"quadrille.internal/services/payment"
)

func main() { host.Main(payment.Service()) }
