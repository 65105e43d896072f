package retail

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Product is one of the things that a file sells.
type Product struct {
	SKU   string
	Title string
}

// Products finds what a file sells, by SKU. The same code comes with several descriptions,
// some of which are remarks of the book-keeper's ("?", "damaged"): the one that most sales
// have is taken. skipped counts the codes that are no products, or have no description.
func Products(r io.Reader) (found []Product, skipped int, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() {
		return nil, 0, errors.Join(errors.New("the file is empty"), lines.Err())
	}
	place, err := header(lines.Bytes())
	if err != nil {
		return nil, 0, err
	}
	named := make(map[string]map[string]int) // how many sales have a description, by SKU
	b := newBuilder(place)
	for lines.Scan() {
		fields, err := record(lines.Text())
		if err != nil || len(fields) != len(place) {
			continue
		}
		l := b.read(fields)
		if l.sku != "" && named[l.sku] == nil {
			named[l.sku] = make(map[string]int)
		}
		title := strings.Join(strings.Fields(fields[place["Description"]]), " ")
		if reason, _ := l.fault(); title != "" && (reason == "" || reason == FinePrice) {
			named[l.sku][title]++
		}
	}
	if err := lines.Err(); err != nil {
		return nil, 0, fmt.Errorf("read the file: %w", err)
	}
	for _, sku := range slices.Sorted(maps.Keys(named)) {
		titles := slices.SortedFunc(maps.Keys(named[sku]), func(a, c string) int {
			return cmp.Or(cmp.Compare(named[sku][c], named[sku][a]), cmp.Compare(len(c), len(a)), cmp.Compare(a, c))
		})
		if len(titles) == 0 {
			skipped++
			continue
		}
		found = append(found, Product{sku, titles[0]})
	}
	return found, skipped, nil
}
