package main

import (
	"errors"
	"fmt"
	"slices"

	"quadrille.internal/events"
	_ "quadrille.internal/events/all"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/service"
)

// A catalog is what the files are made from: the declarations, which fit each other.
type catalog struct {
	specs     []service.Spec
	described map[string]service.Description
	packages  map[string]string // import paths by service
}

// newCatalog describes the services and reports everything that does not fit.
func newCatalog(specs []service.Spec) (*catalog, error) {
	c := &catalog{specs: specs, described: make(map[string]service.Description)}
	var faults []error
	serves, ports, paths := make(map[string]string), make(map[int]string), make(map[string]string)
	for _, s := range specs {
		description, err := service.Describe(s)
		faults = append(faults, err)
		if _, twice := c.described[s.Name]; twice {
			faults = append(faults, fmt.Errorf("two services are called %s", s.Name))
		}
		c.described[s.Name] = description
		for _, method := range description.Serves {
			serves[method] = s.Name
		}
		if other := ports[s.Port]; other != "" {
			faults = append(faults, fmt.Errorf("service %s: port %d is that of %s", s.Name, s.Port, other))
		}
		ports[s.Port] = s.Name
		for _, path := range s.Paths {
			for taken, other := range paths {
				if rest.Under(taken, path) || rest.Under(path, taken) {
					faults = append(faults, fmt.Errorf("service %s: the path %s is under %s of %s, or the other way round", s.Name, path, taken, other))
				}
			}
		}
		for _, path := range s.Paths {
			paths[path] = s.Name
		}
	}
	for _, s := range specs {
		for _, method := range s.Calls {
			if serves[method] == "" {
				faults = append(faults, fmt.Errorf("service %s: it calls %s, which no service serves", s.Name, method))
			}
		}
		for _, eventType := range s.Hears {
			if len(c.emitters(eventType)) == 0 {
				faults = append(faults, fmt.Errorf("service %s: it hears %s, which no service emits", s.Name, eventType))
			}
			if next := eventType + ".v2"; len(c.emitters(next)) > 0 && !slices.Contains(s.Hears, next) {
				faults = append(faults, fmt.Errorf("service %s: it hears %s, but not its second version, %s", s.Name, eventType, next))
			}
		}
	}
	for _, def := range events.Definitions() {
		if len(c.emitters(def.Type)) == 0 {
			faults = append(faults, fmt.Errorf("%s is registered by events/%s, and no service has it in Emits", def.Type, def.Owner))
		}
	}
	return c, errors.Join(faults...)
}

// types lists the types of all events, by service.
func (c *catalog) types() (list []string) {
	for _, s := range c.specs {
		list = append(list, s.Emits...)
	}
	return list
}

func (c *catalog) emitters(eventType string) []string {
	return c.names(func(s service.Spec) bool { return slices.Contains(s.Emits, eventType) })
}

func (c *catalog) hearers(eventType string) []string {
	return c.names(func(s service.Spec) bool { return slices.Contains(s.Hears, eventType) })
}

// names lists the services that are so.
func (c *catalog) names(so func(service.Spec) bool) (list []string) {
	for _, s := range c.specs {
		if so(s) {
			list = append(list, s.Name)
		}
	}
	return list
}
