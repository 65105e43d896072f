package command

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
)

func newCatalog(g *Globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "catalog",
		Short: "Import products, and look after their search",
		Args:  NoArgs,
		RunE:  help,
	}
	cmd.AddCommand(writes(newCatalogImport(g)), newCatalogCheck(g), writes(newCatalogReindex(g)))
	return cmd
}

func newCatalogCheck(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Compare the search index with the catalog; exits 1 where they differ",
		Long: `check holds all products against the search index, whatever engine keeps it. What the
index has yet to hear of is no fault: run it again where much is changed just now.`,
		Example: "  quad catalog check",
		Args:    NoArgs,
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, _ []string) error {
			admin := inst.Admin("catalog")
			index, err := admin.SearchIndex(cmd.Context())
			if err != nil {
				return err
			}
			compared, faults, err := admin.SearchFaults(cmd.Context())
			if err != nil {
				return err
			}
			if g.JSON {
				err = output.JSON(os.Stdout, map[string]any{"index": index, "compared": compared, "faults": faults})
			} else {
				fmt.Printf("%s: %s products compared, %d at fault; %s changes wait\n", index.Engine, output.Grouped(int64(compared)), len(faults), output.Grouped(index.Waiting.Changes))
				for _, f := range faults[:min(len(faults), 20)] {
					fmt.Printf("  %s  %s\n", f.ProductID, f.Problem)
				}
			}
			if err == nil && len(faults) > 0 {
				return Unwell{Err: errors.New("the search index differs from the catalog"), Said: true}
			}
			return err
		}),
	}
}

func newCatalogReindex(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "reindex",
		Short: "Build the search index again, beside the one that is searched",
		Long: `reindex has catalog build another search index, which takes the place of the one that is
searched once it has everything. Searches go on and miss nothing. quad catalog check
shows when it is done.`,
		Example: "  quad catalog reindex",
		Args:    NoArgs,
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, _ []string) error {
			index, err := inst.Admin("catalog").BuildSearchIndex(cmd.Context())
			if err != nil {
				return err
			}
			if g.JSON {
				return output.JSON(os.Stdout, index)
			}
			for _, x := range index.Indexes {
				fmt.Printf("%s %s: %s\n", index.Engine, x.Name, x.Status)
			}
			return nil
		}),
	}
}
