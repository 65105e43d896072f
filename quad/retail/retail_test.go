package retail

import (
	"encoding/csv"
	"fmt"
	"os"
	"strings"
	"testing"

	"quadrille.internal/events"
)

const head = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"

func read(t *testing.T, text string) *File {
	t.Helper()
	f, err := Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Tally.Check(f); err != nil {
		t.Fatalf("the tally does not add up: %v", err)
	}
	return f
}

func TestSample(t *testing.T) {
	text, err := os.ReadFile("testdata/sample.csv")
	if err != nil {
		t.Fatal(err)
	}
	f := read(t, string(text))

	want := []Invoice{
		{"900001", "70001", []events.Line{{SKU: "10001A", Quantity: 6, UnitPrice: 255}, {SKU: "10001A", Quantity: 2, UnitPrice: 210}, {SKU: "10002", Quantity: 4, UnitPrice: 40}}},
		{"900002", Guest, []events.Line{{SKU: "10003", Quantity: 1, UnitPrice: 339}}},
		{"900007", "70002", []events.Line{{SKU: "PARTYBAG", Quantity: 10, UnitPrice: 125}}},
	}
	if got, want := fmt.Sprint(f.Invoices), fmt.Sprint(want); got != want {
		t.Errorf("invoices are\n%s, want\n%s", got, want)
	}
	rejects := map[int]Reason{
		5: Charge, 7: FinePrice, 8: Cancellation, 9: Adjustment, 10: NoQuantity, 11: NoPrice,
		13: BadCode, 14: Unreadable, 15: Unreadable, 16: Unreadable, 17: OtherCustomer,
	}
	if len(f.Rejects) != len(rejects) {
		t.Errorf("%d lines were rejected, want %d", len(f.Rejects), len(rejects))
	}
	for _, r := range f.Rejects {
		if r.Reason != rejects[r.Line] {
			t.Errorf("line %d is rejected as %q (%s), want %q", r.Line, r.Reason, r.Detail, rejects[r.Line])
		}
	}
	tally := f.Tally
	if tally.Lines != 16 || tally.Ordered.Lines != 5 || tally.Ordered.Pounds() != "36.99" {
		t.Errorf("%d lines were read, %d ordered, worth %s", tally.Lines, tally.Ordered.Lines, tally.Ordered.Pounds())
	}
	if got := fmt.Sprint(tally.Invoices); got != "{7 3 4 3}" {
		t.Errorf("invoices read, ordered, rejected, partly: %s", got)
	}
	if got := tally.Rejected[FinePrice].Pounds(); got != "0.001" {
		t.Errorf("the fine price is worth %s", got)
	}
}

func TestPrices(t *testing.T) {
	for _, c := range []struct {
		price  string
		pence  int64
		reason Reason
	}{
		{"2.55", 255, ""},
		{"2.5", 250, ""},
		{"3", 300, ""},
		{"0.29", 29, ""},       // 28.999… as a float
		{"569.77", 56977, ""},  // 56976.99… as a float
		{"1.1500000", 115, ""}, // zeros are no precision
		{"10000000.00", 1_000_000_000, ""},
		{"10000000.01", 0, OutOfRange},
		{"0.001", 0, FinePrice},
		{"1.155", 0, FinePrice},
		{"0.0", 0, NoPrice},
		{"-11062.06", 0, NoPrice},
		{"", 0, Unreadable},
		{"1e3", 0, Unreadable},
		{"1/3", 0, Unreadable},
		{"£2.55", 0, Unreadable},
		{"1,50", 0, Unreadable},
		{".5", 0, Unreadable},
		{"NaN", 0, Unreadable},
	} {
		l := newLine("1", "10001", "1", c.price, "")
		reason, _ := l.fault()
		if reason != c.reason || reason == "" && l.pence != c.pence {
			t.Errorf("price %q: %d pence, %q; want %d, %q", c.price, l.pence, reason, c.pence, c.reason)
		}
	}
}

func TestLines(t *testing.T) {
	for _, c := range []struct {
		invoice, code, quantity, customer string
		want                              Reason
	}{
		{"536365", "85123A", "6", "17850.0", ""},
		{"536365", "85123a", "6.0", "", ""},
		{"c536365", "85123A", "-6", "17850.0", Cancellation},
		{"C536365", "85123A", "6", "17850.0", Cancellation},
		{"A563185", "B", "1", "", Adjustment},
		{"536365", "post", "1", "", Charge},
		{"536365", "BANK CHARGES", "-1", "", Charge},
		{"536365", "gift_0001_20", "1", "", Charge},
		{"536365", "DCGSSBOY", "1", "", ""},
		{"536365", "SP 1002", "1", "", BadCode},
		{"536365", "", "1", "", BadCode},
		{"536365", "10001", "0", "", NoQuantity},
		{"536365", "10001", "-3", "", NoQuantity},
		{"536365", "10001", "1000001", "", OutOfRange},
		{"536365", "10001", "1.5", "", Unreadable},
		{"536365", "10001", "99999999999999999999", "", Unreadable},
		{"", "10001", "1", "", Unreadable},
		{"53 63", "10001", "1", "", Unreadable},
		{"536365", "10001", "1", "a b", Unreadable},
	} {
		got, _ := newLine(c.invoice, c.code, c.quantity, "1.00", c.customer).fault()
		if got != c.want {
			t.Errorf("%+v is rejected as %q", c, got)
		}
	}
}

func TestNotTheFormat(t *testing.T) {
	for _, text := range []string{"", "a,b,c\n1,2,3\n", "\"\n", "{}"} {
		if _, err := Read(strings.NewReader(text)); err == nil {
			t.Errorf("%q was taken for the format", text)
		}
	}
}

func TestForms(t *testing.T) {
	for name, text := range map[string]string{
		"byte order mark":       "\ufeff" + head + "1,10001,X,1,2020-01-01,1.0,,UK\n",
		"Windows line ends":     strings.ReplaceAll(head+"1,10001,X,1,2020-01-01,1.0,,UK\n", "\n", "\r\n"),
		"no newline at the end": head + "1,10001,X,1,2020-01-01,1.0,,UK",
		"columns in any order":  "Country,CustomerID,UnitPrice,InvoiceDate,Quantity,Description,StockCode,InvoiceNo\nUK,,1.0,2020-01-01,1,X,10001,1\n",
		"broken UTF-8":          head + "1,10001,\xa3\xff,1,2020-01-01,1.0,,UK\n",
	} {
		if f := read(t, text); len(f.Invoices) != 1 || len(f.Rejects) != 0 {
			t.Errorf("%s: %d invoices, rejects %v", name, len(f.Invoices), f.Rejects)
		}
	}
}

func TestBlankLinesAreAccountedFor(t *testing.T) {
	f := read(t, head+"\n1,10001,X,1,2020-01-01,1.0,,UK\n\n")
	if f.Tally.Lines != 3 || f.Tally.Rejected[Unreadable].Lines != 2 {
		t.Errorf("%d lines, %v", f.Tally.Lines, f.Rejects)
	}
}

func TestTallyNoticesWhatDoesNotAddUp(t *testing.T) {
	for name, spoil := range map[string]func(*File){
		"a lost line":       func(f *File) { f.Tally.Lines++ },
		"a lost reject":     func(f *File) { f.Rejects = f.Rejects[1:] },
		"a lost order line": func(f *File) { f.Invoices[0].Lines = f.Invoices[0].Lines[1:] },
		"another price":     func(f *File) { f.Invoices[0].Lines[0].UnitPrice++ },
		"a lost invoice":    func(f *File) { f.Tally.Invoices.Read++ },
	} {
		f := read(t, head+"1,10001,X,1,2020-01-01,1.0,,UK\nC2,10001,X,-1,2020-01-01,1.0,,UK\n")
		spoil(f)
		if f.Tally.Check(f) == nil {
			t.Errorf("%s was not noticed", name)
		}
	}
}

func TestOrders(t *testing.T) {
	lines := make([]events.Line, events.MaxLines+1)
	for i := range lines {
		lines[i] = events.Line{SKU: fmt.Sprint(i), Quantity: 1, UnitPrice: 1}
	}
	long := Invoice{Number: "1", Customer: Guest, Lines: lines}
	orders := long.Orders("")
	if len(orders) != 2 || len(orders[0].Lines) != events.MaxLines || len(orders[1].Lines) != 1 {
		t.Fatalf("an invoice a line too long became %d orders", len(orders))
	}
	if orders[0].Key == orders[1].Key {
		t.Error("both parts have one key")
	}
	if again := long.Orders(""); again[0].Key != orders[0].Key {
		t.Error("the key changes from run to run")
	}
	if again := long.Orders("second"); again[0].Key == orders[0].Key {
		t.Error("another run has the key of the former")
	}
	long.Lines[0].Quantity++
	if again := long.Orders(""); again[0].Key == orders[0].Key {
		t.Error("a corrected invoice has the key of the former")
	}
}

func TestSpread(t *testing.T) {
	used := make(map[int]bool)
	for i := range 50 {
		sku, units := fmt.Sprint("SKU", i), int64(i)
		var sum int64
		spread := Spread(sku, units)
		for _, n := range spread {
			if n < 0 {
				t.Errorf("%s: negative stock in %v", sku, spread)
			}
			sum += n
		}
		if sum != units {
			t.Errorf("%d of %s were spread as %v", units, sku, spread)
		}
		used[len(spread)] = true
	}
	if !used[2] || !used[3] {
		t.Errorf("numbers of warehouses used: %v, want 2 and 3", used)
	}
}

func TestRejectsFile(t *testing.T) {
	f := read(t, head+"1,10/1,\"X, \"\"Y\"\"\",1,2020-01-01,1.0,,UK\n")
	var out strings.Builder
	if err := WriteRejects(&out, f.Rejects); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(out.String())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 || rows[1][0] != "2" || rows[1][1] != string(BadCode) || rows[1][5] != `X, "Y"` {
		t.Errorf("the rejects file is\n%s", out.String())
	}
}
