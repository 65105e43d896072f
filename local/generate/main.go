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
	flag.Parse()
	if err := run(*root, *only); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(root string, only bool) error {
	files, err := generate(root, services.All())
	if only {
		return errors.Join(check(files), err)
	}
	return errors.Join(write(root, files, func(path string) { fmt.Println("wrote", path) }), err)
}
