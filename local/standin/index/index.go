// Package index lists what a stand-in has recorded: by page, in an order that
// never changes, whole or of one group.
package index

import (
	"errors"
	"slices"
)

// ErrUnknownCursor reports a page that starts after an id never seen.
var ErrUnknownCursor = errors.New("cursor names no record")

// Query selects a page, oldest first. Rows added while paging come at the end.
type Query struct {
	StartingAfter string // id of the last row of the page before; "" = from the start
	Group         string // "" = all
	Limit         int
}

// Page is one page of a list.
type Page[T any] struct {
	Data    []T  `json:"data"`
	HasMore bool `json:"has_more"`
}

// Index keeps rows in the order they were added, found by id or by group. It
// is not safe for concurrent use.
type Index[T any] struct {
	rows    []T
	byID    map[string]int
	byGroup map[string][]int // ascending positions in rows
}

// New returns an empty index.
func New[T any]() Index[T] {
	return Index[T]{rows: []T{}, byID: map[string]int{}, byGroup: map[string][]int{}}
}

// Add appends a row; a row of group "" is in no group.
func (x *Index[T]) Add(id, group string, row T) {
	pos := len(x.rows)
	x.rows = append(x.rows, row)
	x.byID[id] = pos
	if group != "" {
		x.byGroup[group] = append(x.byGroup[group], pos)
	}
}

// Len counts the rows.
func (x *Index[T]) Len() int { return len(x.rows) }

// Groups counts the groups.
func (x *Index[T]) Groups() int { return len(x.byGroup) }

// Get finds a row by its id.
func (x *Index[T]) Get(id string) (row T, ok bool) {
	pos, ok := x.byID[id]
	if ok {
		row = x.rows[pos]
	}
	return row, ok
}

// First finds the oldest row of a group.
func (x *Index[T]) First(group string) (row T, ok bool) {
	positions := x.byGroup[group]
	if len(positions) == 0 {
		return row, false
	}
	return x.rows[positions[0]], true
}

// Page returns copies of the rows that q selects. Fails with ErrUnknownCursor.
func (x *Index[T]) Page(q Query) (Page[T], error) {
	first := 0
	if q.StartingAfter != "" {
		pos, ok := x.byID[q.StartingAfter]
		if !ok {
			return Page[T]{}, ErrUnknownCursor
		}
		first = pos + 1
	}
	if q.Group == "" {
		end := min(first+q.Limit, len(x.rows))
		return Page[T]{Data: slices.Clone(x.rows[first:end]), HasMore: end < len(x.rows)}, nil
	}
	positions := x.byGroup[q.Group]
	from, _ := slices.BinarySearch(positions, first)
	end := min(from+q.Limit, len(positions))
	rows := make([]T, 0, end-from)
	for _, pos := range positions[from:end] {
		rows = append(rows, x.rows[pos])
	}
	return Page[T]{Data: rows, HasMore: end < len(positions)}, nil
}
