// Package retail reads sales in the Online Retail format (UCI Machine Learning
// Repository, doi 10.24432/C5BW33) and turns each invoice into an order. What
// cannot be ordered is rejected with a reason; nothing is dropped, and the tally
// adds up to the file.
//
// The format has one record a line. A line is therefore read by itself, so that
// an unclosed quote costs one line and not the rest of the file.
package retail

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"

	"quadrille.internal/events"
)

// Guest is the customer of invoices that name none.
const Guest = "guest"

// columns of the format, in its order.
var columns = []string{"InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"}

// Invoice is a sale: the lines of one invoice that can be ordered.
type Invoice struct {
	Number   string
	Customer string
	Lines    []events.Line // unit prices in pence
}

// Reject is a line that cannot be ordered.
type Reject struct {
	Line   int // in the file, the header being line 1
	Reason Reason
	Detail string
	Record []string // the fields as read, or the whole line where it has no fields
}

// File is what a file holds. Every line of it is in an invoice or a reject.
type File struct {
	Invoices []Invoice // in the order of their first lines
	Rejects  []Reject
	Tally    Tally
}

// Read reads a file. Only one that is not in the format at all is an error.
func Read(r io.Reader) (*File, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() {
		return nil, errors.Join(errors.New("the file is empty"), lines.Err())
	}
	place, err := header(lines.Bytes())
	if err != nil {
		return nil, err
	}
	b := newBuilder(place)
	for number := 2; lines.Scan(); number++ {
		b.add(number, lines.Text())
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read line %d: %w", b.file.Tally.Lines+2, err)
	}
	return b.finish(), nil
}

// places are where the columns of a file are.
type places map[string]int

// header finds the place of each column.
func header(line []byte) (places, error) {
	names, err := record(string(bytes.TrimPrefix(line, []byte("\ufeff"))))
	if err != nil {
		return nil, fmt.Errorf("the first line is no CSV header: %w", err)
	}
	place := make(places, len(names))
	for i, name := range names {
		place[strings.TrimSpace(name)] = i
	}
	for _, c := range columns {
		if _, ok := place[c]; !ok {
			return nil, fmt.Errorf("the first line names no column %q; the Online Retail format has %s", c, strings.Join(columns, ","))
		}
	}
	return place, nil
}

// record splits one line of CSV.
func record(line string) ([]string, error) {
	fields, err := csv.NewReader(strings.NewReader(line)).Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the line is blank")
	}
	if parse, ok := errors.AsType[*csv.ParseError](err); ok {
		return nil, parse.Err // its line number would be that within the line
	}
	return fields, err
}

// split reads the fields of a line. Of one that does not have them it says why, and returns the
// fields there are, or the whole text.
func (at places) split(text string) (l *line, fields []string, unread string) {
	fields, err := record(text)
	if err != nil {
		return nil, []string{text}, err.Error()
	}
	if len(fields) != len(at) {
		return nil, fields, fmt.Sprintf("%d fields, the header has %d", len(fields), len(at))
	}
	return at.read(fields), fields, ""
}

func (at places) read(fields []string) *line {
	field := func(name string) string { return strings.TrimSpace(fields[at[name]]) }
	return newLine(field("InvoiceNo"), field("StockCode"), field("Quantity"), field("UnitPrice"), field("CustomerID"))
}

// builder collects a file line by line.
type builder struct {
	file     *File
	place    places
	invoices map[string]*Invoice
	order    []string
	seen     map[string]bool // every invoice number, ordered from or not
	partly   map[string]bool // those with rejected lines
}

func newBuilder(place places) *builder {
	return &builder{
		file: &File{Tally: newTally()}, place: place,
		invoices: make(map[string]*Invoice), seen: make(map[string]bool), partly: make(map[string]bool),
	}
}

func (b *builder) add(number int, text string) {
	b.file.Tally.Lines++
	l, fields, unread := b.place.split(text)
	if l == nil {
		b.reject(Reject{number, Unreadable, unread, fields}, nil)
		return
	}
	if l.invoice != "" {
		b.seen[l.invoice] = true
	}
	if l.value != nil {
		b.file.Tally.Value.Add(b.file.Tally.Value, l.value)
	}
	reason, detail := l.fault()
	if reason == "" {
		reason, detail = b.ofOneCustomer(l)
	}
	if reason != "" {
		b.partly[l.invoice] = true
		b.reject(Reject{number, reason, detail, fields}, l.value)
		return
	}
	b.sell(l)
}

// ofOneCustomer refuses a line whose customer is not that of its invoice: an order
// has one customer.
func (b *builder) ofOneCustomer(l *line) (Reason, string) {
	if inv := b.invoices[l.invoice]; inv != nil && inv.Customer != l.customer {
		return OtherCustomer, fmt.Sprintf("invoice %s is of customer %s", inv.Number, inv.Customer)
	}
	return "", ""
}

func (b *builder) sell(l *line) {
	inv := b.invoices[l.invoice]
	if inv == nil {
		inv = &Invoice{Number: l.invoice, Customer: l.customer}
		b.invoices[l.invoice] = inv
		b.order = append(b.order, l.invoice)
	}
	inv.Lines = append(inv.Lines, events.Line{SKU: l.sku, Quantity: l.quantity, UnitPrice: l.pence})
	b.file.Tally.Ordered.add(l.value)
}

func (b *builder) reject(r Reject, value *big.Rat) {
	b.file.Rejects = append(b.file.Rejects, r)
	b.file.Tally.reject(r.Reason, value)
}

func (b *builder) finish() *File {
	t := &b.file.Tally
	t.Invoices.Read = len(b.seen)
	for _, number := range b.order {
		inv := b.invoices[number]
		b.file.Invoices = append(b.file.Invoices, *inv)
		t.Invoices.Ordered++
		if b.partly[number] {
			t.Invoices.Partly++
		}
	}
	t.Invoices.Rejected = t.Invoices.Read - t.Invoices.Ordered
	return b.file
}

// Demand adds up what the invoices ask for, by SKU.
func (f *File) Demand() map[string]int64 {
	demand := make(map[string]int64)
	for _, inv := range f.Invoices {
		for _, l := range inv.Lines {
			demand[l.SKU] += l.Quantity
		}
	}
	return demand
}

// WriteRejects writes rejects as CSV: line, reason and detail, then the record as
// it was read.
func WriteRejects(w io.Writer, rejects []Reject) error {
	out := csv.NewWriter(w)
	if err := out.Write(slices.Concat([]string{"Line", "Reason", "Detail"}, columns)); err != nil {
		return err
	}
	for _, r := range rejects {
		if err := out.Write(slices.Concat([]string{fmt.Sprint(r.Line), string(r.Reason), r.Detail}, r.Record)); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}
