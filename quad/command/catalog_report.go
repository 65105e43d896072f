package command

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"quadrille.internal/quad/api"
	"quadrille.internal/quad/output"
	"quadrille.internal/quad/retail"
)

// catalogReport is what became of a file. Its line numbers are those of the file.
type catalogReport struct {
	api.Imported
	LeftOut *leftOut `json:"left_out,omitempty"` // of a sales file
}

// leftOut are the lines of a sales file that describe no product.
type leftOut struct {
	Lines   int           `json:"lines"`
	Codes   int           `json:"codes"` // stock codes that have no other lines
	Reasons []retail.Left `json:"reasons"`
}

// newCatalogReport tells how the service answered about the lines it was sent. Those that were
// made of a sales file are not the lines of that.
func newCatalogReport(sent api.Imported, sold *retail.Sold) catalogReport {
	r := catalogReport{Imported: sent}
	if r.Problems == nil {
		r.Problems = []api.ImportProblem{}
	}
	if sold == nil {
		return r
	}
	r.Lines = sold.Lines
	for i, p := range r.Problems {
		r.Problems[i].Line = sold.Products[p.Line-1].Line
	}
	r.LeftOut = &leftOut{Codes: sold.Unnamed, Reasons: sold.LeftOut}
	for _, left := range sold.LeftOut {
		r.LeftOut.Lines += left.Lines
	}
	return r
}

func (r *catalogReport) print(w io.Writer) {
	fmt.Fprintf(w, "%s lines. Products: %s created, %s changed, %s unchanged, %s refused\n", output.Grouped(r.Lines), output.Grouped(r.Created),
		output.Grouped(r.Changed), output.Grouped(r.Unchanged), output.Grouped(r.Refused))
	for _, p := range r.Problems[:min(len(r.Problems), 10)] {
		fmt.Fprintf(w, "  line %d: %s %s\n", p.Line, p.Field, p.Message)
	}
	if r.LeftOut != nil {
		r.LeftOut.print(w)
	}
}

func (l *leftOut) print(w io.Writer) {
	if l.Lines == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s lines are left out, and with them %s stock codes that no other line describes\n", output.Grouped(l.Lines), output.Grouped(l.Codes))
	t := output.NewTable("LEFT OUT", "LINES", "THE FIRST", "SUCH AS").AlignRight(1)
	for _, left := range l.Reasons {
		t.Add(left.Reason, output.Grouped(left.Lines), numbersOf(left), left.First[0].Detail)
	}
	t.Print(w)
}

// numbersOf names the first lines, and says whether there are more.
func numbersOf(left retail.Left) string {
	numbers := make([]string, len(left.First))
	for i, line := range left.First {
		numbers[i] = strconv.Itoa(line.Line)
	}
	if left.Lines > len(left.First) {
		numbers = append(numbers, "...")
	}
	return strings.Join(numbers, ", ")
}
