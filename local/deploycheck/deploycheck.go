// Package deploycheck holds the manifests of deploy/ against a real API server, against
// each other and against what the services declare.
package deploycheck

import (
	"cmp"
	"slices"
	"strings"

	"quadrille.internal/local/kube"
	"quadrille.internal/platform/service/declared"
)

// A Fault is something that would go wrong in a cluster.
type Fault struct {
	Environment string `json:"environment,omitempty"` // overlay in which it was found
	File        string `json:"file"`                  // where the object is written, in the repository
	Object      string `json:"object,omitempty"`      // kind namespace/name
	Field       string `json:"field,omitempty"`
	Problem     string `json:"problem"`
	Remedy      string `json:"remedy"`
}

// A manifest is an object and where it is written.
type manifest struct {
	kube.Object
	file string
}

func (m manifest) String() string {
	if m.Namespace() == "" {
		return m.Kind() + " " + m.Name()
	}
	return m.Kind() + " " + m.Namespace() + "/" + m.Name()
}

// A set is all that one environment has.
type set struct {
	manifests []manifest
	services  []declared.Service
	pods      []pod
	faults    []Fault
}

// check holds manifests against each other and against the services' declarations.
func check(manifests []manifest, services []declared.Service) []Fault {
	s := &set{manifests: manifests, services: services}
	s.pods = s.findPods()
	for _, rule := range []func(*set){
		duplicates, secretsInGit, references, accounts, targets, selectors, delivery,
		components, loaded, policies, topics, scaling, sidecars, listeners, settings, ingressPaths, standards, networks,
		metrics, monitors, connections, lifetimes, tokens, projects, repositories, waves, kept,
	} {
		rule(s)
	}
	slices.SortStableFunc(s.faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Field, b.Field))
	})
	return slices.Compact(s.faults)
}

func (s *set) fault(m manifest, field, problem, remedy string) {
	s.faults = append(s.faults, Fault{File: m.file, Object: m.String(), Field: field, Problem: problem, Remedy: remedy})
}

// of returns the manifests of the kinds.
func (s *set) of(kinds ...string) (found []manifest) {
	for _, m := range s.manifests {
		if slices.Contains(kinds, m.Kind()) {
			found = append(found, m)
		}
	}
	return found
}

// has reports whether there is an object of one of the kinds, separated by "|".
func (s *set) has(kinds, namespace, name string) bool {
	return slices.ContainsFunc(s.of(strings.Split(kinds, "|")...), func(m manifest) bool {
		return m.Name() == name && m.Namespace() == namespace
	})
}

// service returns the declaration of an app id.
func (s *set) service(id string) (declared.Service, bool) {
	i := slices.IndexFunc(s.services, func(d declared.Service) bool { return d.Name == id })
	if i < 0 {
		return declared.Service{}, false
	}
	return s.services[i], true
}

func (s *set) serviceNames() string {
	names := make([]string, len(s.services))
	for i, d := range s.services {
		names[i] = d.Name
	}
	return strings.Join(names, ", ")
}

func duplicates(s *set) {
	seen := make(map[string]string)
	for _, m := range s.manifests {
		key := m.Group() + " " + m.String()
		if other, twice := seen[key]; twice {
			s.fault(m, "metadata.name", "it is also in "+other, "give one of them another name, or leave one out")
		}
		seen[key] = m.file
	}
}

func secretsInGit(s *set) {
	for _, m := range s.of("Secret") {
		if len(m.Map("data"))+len(m.Map("stringData")) > 0 {
			s.fault(m, "data", "a secret is in git", "write an ExternalSecret in its place, and change the secret: it is known now")
		}
	}
}
