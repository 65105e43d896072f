// Package wire is what customer answers operators.
package wire

import "time"

// Erasure is a customer's request to be erased, until all have answered.
type Erasure struct {
	CustomerID  string    `json:"customer_id"`
	RequestedAt time.Time `json:"requested_at"`
	// Deadline is when the last answer is wanted.
	Deadline time.Time `json:"deadline"`
	// ErasedAt is when the personal data and its key were deleted.
	ErasedAt *time.Time `json:"erased_at,omitempty"`
	// WaitsFor are the services that have not answered.
	WaitsFor []string `json:"waits_for"`
}

// Erasures is a page of them.
type Erasures struct {
	Erasures []Erasure `json:"erasures"`
	Next     string    `json:"next_cursor,omitempty"`
}
