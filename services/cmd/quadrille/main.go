// Command quadrille runs all services, or the named ones, in one process, without Dapr
// and without a broker.
package main

import (
	"quadrille.internal/platform/host"
	"quadrille.internal/services"
)

func main() { host.Main(services.All()...) }
