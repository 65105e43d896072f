// Command identity runs the service identity.
package main

import (
	"quadrille.internal/platform/host"
	"quadrille.internal/services/identity"
)

func main() { host.Main(identity.Service()) }
