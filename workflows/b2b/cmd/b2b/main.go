// Command b2b runs the service b2b.
package main

import (
	"quadrille.internal/platform/host"
	"quadrille.internal/workflows/b2b"
)

func main() { host.Main(b2b.Service()) }
