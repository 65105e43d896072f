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

func newCatalogImport(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE",
		Short: "Write the products of a file of JSON Lines, or of sales in the Online Retail format",
		Long: `import writes a product for each line of JSON: its id, state, title, variants and what
else PUT /v1/products/{id} takes. Of a sales file in the Online Retail format (CSV) it
publishes each stock code as a product, with the description that most sales have. Lines
of it that describe no product are left out: cancellations, charges such as postage,
lines without a description, a quantity or a price, and those that cannot be read. The
report counts them by reason and names the first of each.

Line numbers are those of the file. That of a stock code that was refused is the first
line that has its description.

What is in the catalog already is changed, or left alone where it is the same: import
the same file again whenever it was interrupted. Exits 1 if products were refused; lines
that are left out change nothing of that.`,
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
			lines, sold, err := productLines(in)
			if err != nil {
				return UsageError{fmt.Errorf("%s: %w", args[0], err)}
			}
			all, err := importLines(cmd.Context(), inst.Admin("catalog"), lines)
			if err != nil {
				return fmt.Errorf("after %d products (import the file again to go on): %w", all.Lines, err)
			}
			report := newCatalogReport(all, sold)
			if g.JSON {
				err = output.JSON(cmd.OutOrStdout(), report)
			} else {
				report.print(cmd.OutOrStdout())
			}
			if err == nil && report.Refused > 0 {
				return Unwell{Err: errors.New("products were refused"), Said: true}
			}
			return err
		}),
	}
}

// productLines returns products as lines of JSON, whichever of the two forms a file has. Of a
// sales file it says what the products were made of.
func productLines(in io.Reader) (io.Reader, *retail.Sold, error) {
	file := bufio.NewReader(in)
	start, err := file.Peek(1)
	if err != nil {
		return nil, nil, errors.New("the file is empty")
	}
	if start[0] == '{' {
		return file, nil, nil
	}
	sold, err := retail.Products(file)
	if err != nil {
		return nil, nil, err
	}
	var lines bytes.Buffer
	out := json.NewEncoder(&lines)
	for _, p := range sold.Products {
		err := out.Encode(map[string]any{
			"id": p.SKU, "state": "published", "title": p.Title, "variants": []map[string]string{{"sku": p.SKU}},
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return &lines, sold, nil
}

// importAtOnce bounds a request, in lines and in bytes; catalog takes lines of up to maxLine bytes.
const (
	importAtOnce = 2_000
	importBytes  = 4 << 20
	maxLine      = 256 << 10
)

// importLines sends lines a part at a time, and adds up the answers.
func importLines(ctx context.Context, admin *api.Admin, in io.Reader) (all api.Imported, err error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
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
	if err := send(); err != nil {
		return all, err
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return all, fmt.Errorf("line %d is larger than %d bytes: shorten it", all.Lines+1, maxLine)
	case err != nil:
		return all, fmt.Errorf("read line %d: %w", all.Lines+1, err)
	}
	return all, nil
}
