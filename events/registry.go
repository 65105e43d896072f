package events

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Kind is what an event is about.
type Kind string

// The kinds of subject. A service that has events about something else adds its own.
const (
	KindOrder Kind = "order"
)

// Definition describes one event type.
type Definition struct {
	Type string
	// Owner is the service that publishes it.
	Owner string
	// Before are services that published it in the release before: what they left on the
	// broker is still theirs.
	Before []string
	Kind   Kind
	// Sample is a valid event with every field set, of which golden files and documents
	// are made.
	Sample Event
}

// ErrUnknownType says that a type is not registered.
var ErrUnknownType = errors.New("unknown event type")

// registered is written while packages are initialised, and only read then.
var registered = make(map[string]Definition)

// Register makes the event types of a service known, each by a sample of it; they are
// about subjects of one kind. The owner's package calls it once for each kind, as it is
// initialised. A type begins with its owner's name, or with its kind where it is named
// after what it is about. One that does not, or is registered already, is a mistake in the
// program, and panics.
func Register(owner string, kind Kind, samples ...Event) []Definition {
	defs := make([]Definition, len(samples))
	for i, sample := range samples {
		def := Definition{Type: sample.Type(), Owner: owner, Kind: kind, Sample: sample}
		named := strings.HasPrefix(def.Type, owner+".") || kind != KindOrder && strings.HasPrefix(def.Type, string(kind)+".")
		if _, twice := registered[def.Type]; twice || !named {
			panic(fmt.Sprintf("events: %T cannot be registered as %q of %q: it begins with its owner's name or its kind and is registered once",
				sample, def.Type, owner))
		}
		registered[def.Type], defs[i] = def, def
	}
	return defs
}

// PublishedBefore says that other services published a registered type in the release
// before. The package that registers it calls it as it is initialised.
func PublishedBefore(eventType string, services ...string) {
	def := registered[eventType]
	if def.Owner == "" {
		panic(fmt.Sprintf("events: %q cannot have been published before: it is not registered", eventType))
	}
	def.Before = services
	registered[eventType] = def
}

// from reports whether a service may be the source of the type.
func (d Definition) from(source string) bool {
	return source == d.Owner || slices.Contains(d.Before, source)
}

// Lookup returns what is registered as a type.
func Lookup(eventType string) (def Definition, ok bool) {
	def, ok = registered[eventType]
	return def, ok
}

// Definitions returns all registered types, sorted by name.
func Definitions() []Definition {
	return slices.SortedFunc(maps.Values(registered), func(a, b Definition) int { return strings.Compare(a.Type, b.Type) })
}

// newPayload returns a new, empty payload of a type, or nil if it is unknown.
func newPayload(eventType string) Event {
	def, ok := registered[eventType]
	if !ok {
		return nil
	}
	e, _ := reflect.New(reflect.TypeOf(def.Sample)).Interface().(Event) // a pointer has its value's methods
	return e
}
