// Command catalog runs the service catalog.
package main

import (
	"quadrille.internal/platform/host"
	"quadrille.internal/services/catalog"
)

func main() { host.Main(catalog.Service()) }
