// Package customer holds the events that customer publishes.
package customer

import (
	"errors"
	"time"

	"quadrille.internal/events"
)

// The event types, which are also the names of the topics.
const (
	TypeErasureRequested = "customer.erasure.requested"
	TypeGroupsChanged    = "customer.groups.changed"
)

// ErasureRequested: each holder of the customer's id deletes what it has of the customer,
// or takes the id out of it, and says so (<holder>.customer.erased). It may come again.
type ErasureRequested struct {
	events.OfCustomer
	// Deadline is when the last answer is wanted.
	Deadline time.Time `json:"deadline"`
}

// GroupsChanged: the customer belongs to these price groups now.
type GroupsChanged struct {
	events.OfCustomer
	Groups []string `json:"groups"`
	// Version grows with each change: pass over a state that is older than one you have.
	Version int64 `json:"version"`
}

// Type is customer.erasure.requested.
func (ErasureRequested) Type() string { return TypeErasureRequested }

// Type is customer.groups.changed.
func (GroupsChanged) Type() string { return TypeGroupsChanged }

// Validate checks the deadline.
func (e ErasureRequested) Validate() error {
	if e.Deadline.IsZero() {
		return errors.New("deadline is missing")
	}
	return e.OfCustomer.Validate()
}

// Validate checks the names of the groups, and the version.
func (e GroupsChanged) Validate() error {
	if e.Groups == nil || e.Version < 1 {
		return errors.New("groups and version are required")
	}
	for _, g := range e.Groups {
		if err := events.CheckName("groups", g); err != nil {
			return err
		}
	}
	return e.OfCustomer.Validate()
}
