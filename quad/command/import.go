package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"quadrille.internal/quad/importer"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
	"quadrille.internal/quad/retail"
)

// importPatience is how long a call is repeated while its service is overloaded or
// away: long enough to start it again.
const importPatience = time.Minute

// importing are the flags of the command.
type importing struct {
	restock     bool
	token       string
	concurrency int
	rejects     string
	run         string
	wait        time.Duration
}

func newImport(g *Globals) *cobra.Command {
	var opts importing
	cmd := &cobra.Command{
		Use:   "import FILE.csv",
		Short: "Place the orders of a sales file in the Online Retail format",
		Long: `import turns each invoice of the file into one order, places the orders, waits until
all are settled and accounts for every line. An invoice of more than 1,000 lines,
the most an order may have, becomes several orders.

Cancellations, charges, lines without price or quantity and unreadable ones cannot
be ordered: they go to the rejects file with line number and reason. The same file
may be imported again: nothing is placed twice. Exits 1 if an order was not taken or
is not settled in time.`,
		Example: `  quad import --restock 2010-12-01.csv
  quad import 2010-12-01.csv --concurrency 32 --rejects rejects.csv
  quad import --restock 2010-12-01.csv --run again`,
		Args: Exactly("FILE.csv"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if opts.concurrency < 1 {
				return UsageError{errors.New("--concurrency is at least 1")}
			}
			inst, err := g.open(cmd, importPatience)
			if err != nil {
				return err
			}
			defer inst.Close()
			err = Explain(inst, opts.do(cmd.Context(), g, inst, args[0]))
			if errors.Is(err, context.Canceled) {
				return errors.New("interrupted; run the same command again to go on, nothing is placed twice")
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVar(&opts.restock, "restock", false, "first set stock so that all orders can be served")
	f.StringVar(&opts.token, "token", "tok_success", "means of payment for all orders")
	f.IntVar(&opts.concurrency, "concurrency", 16, "how many requests at once")
	f.StringVar(&opts.rejects, "rejects", "", "where rejected lines go (default rejects/<FILE>, of the local stack in its folder)")
	f.StringVar(&opts.run, "run", "", "a name; under another name the file's orders are placed again")
	f.DurationVar(&opts.wait, "wait", time.Minute, "how long orders may take to be settled after the last is placed")
	return cmd
}

func (opts *importing) do(ctx context.Context, g *Globals, inst *installation.Installation, path string) error {
	file, err := readSales(path)
	if err != nil {
		return err
	}
	settled, err := inst.Database(ctx, "order")
	if err != nil {
		return err
	}
	// Retries are for what was up and went away.
	if err := settled.Ping(ctx); err != nil {
		return err
	}
	result := &imported{File: path, file: file}
	if err := opts.writeRejects(inst, result); err != nil {
		return err
	}
	var orders []retail.Order
	for _, invoice := range file.Invoices {
		orders = append(orders, invoice.Orders(opts.run)...)
	}
	if !g.JSON {
		printTally(result)
	}
	in := &importer.Importer{Client: inst.Client, Orders: settled, Token: opts.token, Concurrency: opts.concurrency}
	if err := opts.feed(ctx, g, in, orders, result); err != nil {
		return err
	}
	if g.JSON {
		err = output.JSON(os.Stdout, result.forPrograms())
	} else {
		printOutcome(result)
	}
	if err == nil && !result.ok() {
		return Unwell{Err: errors.New("not every order was taken and settled"), Said: true}
	}
	return err
}

func readSales(path string) (*retail.File, error) {
	in, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, UsageError{fmt.Errorf("there is no file %s", path)}
	}
	if err != nil {
		return nil, err
	}
	defer in.Close()
	file, err := retail.Read(in)
	if err != nil {
		return nil, UsageError{fmt.Errorf("%s: %w", path, err)}
	}
	if err := file.Tally.Check(file); err != nil {
		return nil, fmt.Errorf("%s: the tally does not add up, which is a fault of quad: %w", path, err)
	}
	return file, nil
}

func (opts *importing) writeRejects(inst *installation.Installation, result *imported) error {
	result.Rejects = opts.rejects
	if result.Rejects == "" {
		dir := filepath.Join(inst.Dir, "rejects")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		result.Rejects = filepath.Join(dir, filepath.Base(result.File))
	}
	out, err := os.Create(result.Rejects)
	if err != nil {
		return fmt.Errorf("write the rejects: %w; name another place with --rejects", err)
	}
	if err := errors.Join(retail.WriteRejects(out, result.file.Rejects), out.Close()); err != nil {
		return fmt.Errorf("write the rejects to %s: %w", result.Rejects, err)
	}
	return nil
}

// feed sets the stock, places the orders and follows them to their end.
func (opts *importing) feed(ctx context.Context, g *Globals, in *importer.Importer, orders []retail.Order, result *imported) error {
	step := func(label string, total int, do func() error) error {
		b := output.NewBar(os.Stdout, label, total)
		if !g.JSON {
			b.Start()
		}
		defer b.End()
		in.Advance = b.Advance
		return do()
	}
	if opts.restock {
		demand := result.file.Demand()
		if err := step("stocks set", len(demand), func() error { return in.Restock(ctx, demand) }); err != nil {
			return err
		}
	}
	err := step("orders placed", len(orders), func() (err error) {
		result.placed, err = in.Place(ctx, orders)
		return err
	})
	if err != nil {
		return err
	}
	return step("orders settled", len(result.placed.IDs), func() (err error) {
		result.ends, result.waiting, err = in.Await(ctx, result.placed.IDs, opts.wait)
		return err
	})
}
