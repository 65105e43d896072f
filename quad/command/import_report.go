package command

import (
	"fmt"
	"os"
	"slices"
	"time"

	"quadrille.internal/quad/importer"
	"quadrille.internal/quad/output"
	"quadrille.internal/quad/retail"
	order "quadrille.internal/services/order/audit"
)

// imported is what came of an import.
type imported struct {
	File    string
	Rejects string
	file    *retail.File
	placed  importer.Placed
	ends    []order.End
	waiting map[string]int
}

func (r *imported) ok() bool { return len(r.placed.Refused) == 0 && len(r.waiting) == 0 }

// outcomes counts the orders by how they ended: "confirmed", or "cancelled: " with
// the code of the reason.
func (r *imported) outcomes() (names []string, count map[string]int) {
	count = make(map[string]int)
	for _, end := range r.ends {
		name := end.Status
		if end.Code != "" && end.Status == "cancelled" {
			name += ": " + end.Code
		}
		if count[name]++; count[name] == 1 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	slices.Reverse(names) // confirmed before cancelled
	slices.SortStableFunc(names, func(a, b string) int { return count[b] - count[a] })
	return names, count
}

func (r *imported) forPrograms() map[string]any {
	_, outcomes := r.outcomes()
	rejected := make(map[retail.Reason]any)
	tally := &r.file.Tally
	for reason, amount := range tally.Rejected {
		rejected[reason] = jsonAmount(*amount)
	}
	return map[string]any{
		"file": r.File, "rejects_file": r.Rejects,
		"read": jsonAmount(tally.Read()), "ordered": jsonAmount(tally.Ordered),
		"rejected": jsonAmount(tally.AllRejected()), "rejected_by_reason": rejected,
		"invoices": map[string]int{
			"read": tally.Invoices.Read, "ordered": tally.Invoices.Ordered,
			"ordered_in_part": tally.Invoices.Partly, "rejected": tally.Invoices.Rejected,
		},
		"placed": len(r.placed.IDs), "placed_before": r.placed.Before, "refused": r.placed.Refused,
		"outcomes": outcomes, "waiting_for": r.waiting, "order_ids": r.placed.IDs,
	}
}

func jsonAmount(a retail.Amount) map[string]any {
	return map[string]any{"lines": a.Lines, "value": a.Pounds(), "currency": importer.Currency}
}

// printTally accounts for the file.
func printTally(r *imported) {
	tally := &r.file.Tally
	t := output.NewTable(r.File, "INVOICES", "LINES", "VALUE "+importer.Currency).AlignRight(1, 2, 3)
	row := func(what, invoices string, a retail.Amount) {
		t.Add(what, invoices, output.Grouped(a.Lines), output.Grouped(a.Pounds()))
	}
	row("read", output.Grouped(tally.Invoices.Read), tally.Read())
	row("= to be ordered", output.Grouped(tally.Invoices.Ordered), tally.Ordered)
	row("+ rejected", output.Grouped(tally.Invoices.Rejected), tally.AllRejected())
	for _, reason := range tally.Reasons() {
		row("    "+string(reason), "", *tally.Rejected[reason])
	}
	t.Print(os.Stdout)
	if n := tally.Invoices.Partly; n > 0 {
		fmt.Printf("%d of the invoices to be ordered are without some of their lines\n", n)
	}
	if len(r.file.Rejects) > 0 {
		fmt.Printf("rejected lines are in %s\n", r.Rejects)
	}
	fmt.Println()
}

// printOutcome says how the orders ended.
func printOutcome(r *imported) {
	fmt.Println()
	t := output.NewTable("ORDERS", "").AlignRight(1)
	t.Add("placed", output.Grouped(len(r.placed.IDs)))
	if r.placed.Before > 0 {
		t.Add(output.Paint(os.Stdout, output.Faint, "  of these by an earlier run"), output.Grouped(r.placed.Before))
	}
	names, count := r.outcomes()
	for _, name := range names {
		colour := output.Red
		if name == "confirmed" {
			colour = output.Green
		}
		t.Add("= "+output.Paint(os.Stdout, colour, name), output.Grouped(count[name]))
	}
	for whom, n := range r.waiting {
		t.Add("= "+output.Paint(os.Stdout, output.Yellow, "still waiting for "+whom), output.Grouped(n))
	}
	t.Print(os.Stdout)
	if len(r.ends) > 0 {
		middle, most := r.latency()
		fmt.Println(output.Paint(os.Stdout, output.Faint, fmt.Sprintf("from placed to settled: half within %s, all within %s", output.Seconds(middle), output.Seconds(most))))
	}
	for _, refusal := range r.placed.Refused {
		fmt.Printf("%s  invoice %s: %s\n", output.Paint(os.Stdout, output.Red, "not taken"), refusal.Invoice, refusal.Cause)
	}
	if len(r.waiting) > 0 {
		fmt.Println("not all orders are settled yet: quad verify names those that are stuck, and why")
	}
}

func (r *imported) latency() (middle, most time.Duration) {
	took := make([]time.Duration, len(r.ends))
	for i, end := range r.ends {
		took[i] = end.Took
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)-1]
}
