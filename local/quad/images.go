package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"quadrille.internal/local/image"
	"quadrille.internal/quad/command"
	"quadrille.internal/quad/output"
)

func newImages(g *globals) *cobra.Command {
	var o image.Options
	cmd := &cobra.Command{
		Use:   "images [SERVICE...]",
		Short: "Make container images of the services, without Docker",
		Long: `images builds each service, or those named, as an image quadrille-SERVICE: a static
program, the root certificates and a user (65532) on nothing else; no shell. In
.local/images each is an OCI archive, which docker load, podman load and ctr images
import take, with its bill of materials (CycloneDX) beside it.

The program is the entry point; its arguments are those of the service, "migrate" for
example. The version is the tag or commit that git describes. The same commit and the
same Go make the same digest. SIZE is that of the compressed layers, and 25 MB at most.

--push REGISTRY sends them to a registry, under the path given (registry.example/shop),
with the credentials of docker login or podman login.`,
		RunE: func(cmd *cobra.Command, services []string) error {
			s, err := g.open(nil)
			if err != nil {
				return err
			}
			o.Root, o.Services = s.Root, services
			made := []image.Image{}
			err = image.Build(cmd.Context(), o, func(m image.Image) {
				made = append(made, m)
				if !g.JSON {
					fmt.Fprintf(os.Stderr, "made %s\n", m.Name)
				}
			})
			if errors.Is(err, image.ErrUnknownService) {
				return command.UsageError{Err: err}
			}
			if err != nil {
				return err
			}
			if g.JSON {
				return output.JSON(os.Stdout, made)
			}
			printImages(made)
			return nil
		},
	}
	cmd.Flags().StringVar(&o.Arch, "arch", "", "amd64, arm64, ... (default: this machine's)")
	cmd.Flags().StringVar(&o.Push, "push", "", "registry, with a path, that the images are sent to")
	return cmd
}

func printImages(made []image.Image) {
	table := output.NewTable("IMAGE", "VERSION", "SIZE", "DIGEST").AlignRight(2)
	for _, m := range made {
		table.Add(m.Name, m.Version, fmt.Sprintf("%.1f MB", float64(m.Bytes)/1e6), strings.TrimPrefix(m.Digest, "sha256:")[:12])
	}
	table.Print(os.Stdout)
	for _, m := range made {
		if m.Pushed != "" {
			fmt.Println("pushed", m.Pushed)
		}
	}
}
