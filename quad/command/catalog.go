package command

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"quadrille.internal/quad/api"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
	"quadrille.internal/quad/retail"
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

func newCatalogImport(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE",
		Short: "Write the products of a file of JSON Lines, or of sales in the Online Retail format",
		Long: `import writes a product for each line of JSON: its id, state, title, variants and what
else PUT /v1/products/{id} takes. Of a sales file in the Online Retail format (CSV) it
publishes each stock code as a product, with the description that most sales have; codes
that are no products, such as postage, are skipped.

What is in the catalog already is changed, or left alone where it is the same: import
the same file again whenever it was interrupted. Exits 1 if lines were refused.`,
		Example: `  quad catalog import products.jsonl
  quad catalog import 2010-12-01.csv`,
		Args: Exactly("FILE"),
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, args []string) error {
			in, err := os.Open(args[0])
			if errors.Is(err, fs.ErrNotExist) {
				return UsageError{fmt.Errorf("there is no file %s", args[0])}
			}
			if err != nil {
				return err
			}
			defer in.Close()
			lines, err := productLines(in)
			if err != nil {
				return UsageError{fmt.Errorf("%s: %w", args[0], err)}
			}
			all, err := importLines(cmd.Context(), inst.Admin("catalog"), lines)
			if err != nil {
				return fmt.Errorf("after %d lines (import the file again to go on): %w", all.Lines, err)
			}
			return printImported(g, all)
		}),
	}
}

// productLines returns products as lines of JSON, whichever of the two forms a file has.
func productLines(in io.Reader) (io.Reader, error) {
	file := bufio.NewReader(in)
	start, err := file.Peek(1)
	if err != nil {
		return nil, errors.New("the file is empty")
	}
	if start[0] == '{' {
		return file, nil
	}
	sold, _, err := retail.Products(file)
	if err != nil {
		return nil, err
	}
	var lines bytes.Buffer
	out := json.NewEncoder(&lines)
	for _, p := range sold {
		err := out.Encode(map[string]any{
			"id": p.SKU, "state": "published", "title": p.Title, "variants": []map[string]string{{"sku": p.SKU}},
		})
		if err != nil {
			return nil, err
		}
	}
	return &lines, nil
}

// importAtOnce bounds a request, in lines and in bytes.
const (
	importAtOnce = 2_000
	importBytes  = 4 << 20
)

// importLines sends lines a part at a time, and adds up the answers.
func importLines(ctx context.Context, admin *api.Admin, in io.Reader) (all api.Imported, err error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	var part bytes.Buffer
	n := 0
	send := func() error {
		if n == 0 {
			return nil
		}
		got, err := admin.ImportProducts(ctx, part.Bytes())
		if err != nil {
			return err
		}
		for _, p := range got.Problems {
			p.Line += all.Lines
			all.Problems = append(all.Problems, p)
		}
		all.Lines, all.Created, all.Changed = all.Lines+got.Lines, all.Created+got.Created, all.Changed+got.Changed
		all.Unchanged, all.Refused = all.Unchanged+got.Unchanged, all.Refused+got.Refused
		part.Reset()
		n = 0
		return nil
	}
	for lines.Scan() {
		part.Write(lines.Bytes())
		part.WriteByte('\n')
		if n++; n == importAtOnce || part.Len() > importBytes {
			if err := send(); err != nil {
				return all, err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return all, fmt.Errorf("read line %d: %w", all.Lines+n+1, err)
	}
	return all, send()
}

func printImported(g *Globals, all api.Imported) error {
	var err error
	if g.JSON {
		err = output.JSON(os.Stdout, all)
	} else {
		fmt.Printf("%s lines: %s created, %s changed, %s unchanged, %s refused\n", output.Grouped(int64(all.Lines)), output.Grouped(int64(all.Created)),
			output.Grouped(int64(all.Changed)), output.Grouped(int64(all.Unchanged)), output.Grouped(int64(all.Refused)))
		for _, p := range all.Problems[:min(len(all.Problems), 10)] {
			fmt.Printf("  line %d: %s %s\n", p.Line, p.Field, p.Message)
		}
	}
	if err == nil && all.Refused > 0 {
		return Unwell{Err: errors.New("lines were refused"), Said: true}
	}
	return err
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
