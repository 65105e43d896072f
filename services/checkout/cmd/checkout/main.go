// Command checkout runs the service checkout.
package main

import (
	"quadrille.internal/platform/host"
	"quadrille.internal/services/checkout"
)

func main() { host.Main(checkout.Service()) }
