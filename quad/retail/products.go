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

// NoDescription is a line that does not say what its code is. It is given before reasons that only
// concern orders: what a product lacks is its title.
const NoDescription Reason = "no description"

// Sold is what a file sells. Each of its lines describes a product or is left out.
type Sold struct {
	Lines    int // without the header
	Products []Product
	LeftOut  []Left // the most frequent reason first
	// Unnamed are the stock codes of which no line describes a product.
	Unnamed int
}

// Product is one of the things that a file sells.
type Product struct {
	SKU   string
	Title string
	Line  int // the first in the file that has this title
}

// Left counts the lines that one reason kept from describing a product.
type Left struct {
	Reason Reason   `json:"reason"`
	Lines  int      `json:"lines"`
	First  []Lacked `json:"first"` // of these, at most firstLeft
}

// Lacked is a line that is left out.
type Lacked struct {
	Line   int    `json:"line"` // in the file, the header being line 1
	Detail string `json:"detail,omitempty"`
}

// firstLeft is how many lines of a reason are named.
const firstLeft = 5

// Products finds what a file sells, by SKU. The same code comes with several descriptions,
// some of which are remarks of the book-keeper's ("?", "damaged"): the one that most sales
// have is taken.
func Products(r io.Reader) (*Sold, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() {
		return nil, errors.Join(errors.New("the file is empty"), lines.Err())
	}
	place, err := header(lines.Bytes())
	if err != nil {
		return nil, err
	}
	s := seller{place: place, titles: make(map[string]map[string]*title), left: make(map[Reason]*Left)}
	for lines.Scan() {
		s.add(lines.Text())
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read line %d: %w", s.sold.Lines+2, err)
	}
	return s.finish(), nil
}

// seller collects what a file sells line by line.
type seller struct {
	place  places
	sold   Sold
	titles map[string]map[string]*title // by SKU; of codes that are no products, none
	left   map[Reason]*Left
}

// title is a description of a SKU.
type title struct{ sales, line int }

func (s *seller) add(text string) {
	s.sold.Lines++
	number := s.sold.Lines + 1
	l, fields, unread := s.place.split(text)
	if l == nil {
		s.leave(Unreadable, Lacked{number, unread})
		return
	}
	if l.sku != "" && s.titles[l.sku] == nil {
		s.titles[l.sku] = make(map[string]*title)
	}
	description := strings.Join(strings.Fields(fields[s.place["Description"]]), " ")
	reason, detail := l.fault()
	if description == "" && reason != Unreadable {
		reason, detail = NoDescription, ""
	}
	if reason != "" && reason != FinePrice {
		s.leave(reason, Lacked{number, detail})
		return
	}
	t := s.titles[l.sku][description]
	if t == nil {
		t = &title{line: number}
		s.titles[l.sku][description] = t
	}
	t.sales++
}

func (s *seller) leave(reason Reason, line Lacked) {
	left := s.left[reason]
	if left == nil {
		left = &Left{Reason: reason}
		s.left[reason] = left
	}
	if left.Lines++; left.Lines <= firstLeft {
		left.First = append(left.First, line)
	}
}

func (s *seller) finish() *Sold {
	for _, sku := range slices.Sorted(maps.Keys(s.titles)) {
		titles := s.titles[sku]
		if len(titles) == 0 {
			s.sold.Unnamed++
			continue
		}
		best := slices.MinFunc(slices.Collect(maps.Keys(titles)), func(a, c string) int {
			return cmp.Or(cmp.Compare(titles[c].sales, titles[a].sales), cmp.Compare(len(c), len(a)), cmp.Compare(a, c))
		})
		s.sold.Products = append(s.sold.Products, Product{sku, best, titles[best].line})
	}
	for _, left := range s.left {
		s.sold.LeftOut = append(s.sold.LeftOut, *left)
	}
	slices.SortFunc(s.sold.LeftOut, func(a, b Left) int {
		return cmp.Or(cmp.Compare(b.Lines, a.Lines), cmp.Compare(a.Reason, b.Reason))
	})
	return &s.sold
}
