// Command generate writes what follows from the declarations of the services: the run
// file of one machine, the scopes of the components and the tables of the documents.
// `quad generate` runs it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"quadrille.internal/services"
)

func main() {
	root := flag.String("root", ".", "the folder of the repository")
	only := flag.Bool("check", false, "write nothing, and fail where a file is not up to date")
	declarations := flag.Bool("declarations", false, "only write what the services declare, as JSON, to the standard output")
	flag.Parse()
	work := func() error { return run(*root, *only) }
	if *declarations {
		work = declare
	}
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// declare writes what the services declare.
func declare() error {
	c, err := newCatalog(services.All())
	if err != nil {
		return err
	}
	return c.writeDeclarations(os.Stdout)
}

func run(root string, only bool) error {
	files, err := generate(root, services.All())
	if only {
		return errors.Join(check(files), err)
	}
	return errors.Join(write(root, files, func(path string) { fmt.Println("wrote", path) }), err) //nolint:forbidigo // a command prints what it did
}
