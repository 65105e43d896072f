// Command gateway runs the service gateway.
package main

import (
	"quadrille.internal/platform/host"
	"quadrille.internal/services/gateway"
)

func main() { host.Main(gateway.Service()) }
