// Command quad operates installations of Quadrille. It needs no checkout; that of a
// checkout (local/quad) has these commands too, and those that run Quadrille on a machine.
package main

import "quadrille.internal/quad/command"

func main() {
	root, _ := command.New(command.Options{})
	command.Main(root)
}
