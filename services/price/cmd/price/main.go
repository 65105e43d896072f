// Command price runs the service price.
package main

import (
	"quadrille.internal/platform/host"
	"quadrille.internal/services/price"
)

func main() { host.Main(price.Service()) }
