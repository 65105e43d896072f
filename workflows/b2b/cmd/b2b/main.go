// Command b2b runs the service b2b.
package main

import (
	"quadrille.internal/platform/service"
	"quadrille.internal/workflows/b2b"
)

func main() { service.Main(b2b.Service()) }
