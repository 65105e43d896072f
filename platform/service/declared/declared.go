// Package declared is what services declare, for programs that must not depend on them:
// `go run ./local/generate -declarations` writes it as the services are now.
package declared

import "slices"

// A Service is what a service.Spec says, and what its Build tells.
type Service struct {
	Name          string    `json:"name"`
	Ports         Ports     `json:"ports"`
	Emits         []string  `json:"emits,omitempty"`
	EmittedBefore []string  `json:"emitted_before,omitempty"`
	Hears         []string  `json:"hears,omitempty"`
	Calls         []string  `json:"calls,omitempty"`  // gRPC methods
	Serves        []string  `json:"serves,omitempty"` // gRPC methods
	Partners      []Partner `json:"partners,omitempty"`
	Paths         []string  `json:"paths,omitempty"`    // that the gateway sends to it
	Settings      []Setting `json:"settings,omitempty"` // its own, beside those of every service
	Metrics       []Metric  `json:"metrics"`
	Database      bool      `json:"database"`
	Workflows     bool      `json:"workflows"`
}

// Ports are where a service listens unless its settings say otherwise.
type Ports struct {
	Public int `json:"public"`
	GRPC   int `json:"grpc"`
	Admin  int `json:"admin"`
	Health int `json:"health"`
}

// A Partner is a third party that a service calls.
type Partner struct {
	Name string `json:"name"`
	URL  string `json:"url"` // the setting that says where it is
}

// A Setting is a variable of the environment. A secret may also be in the file that
// the variable with _FILE behind its name says.
type Setting struct {
	Name     string `json:"name"`
	Required bool   `json:"required,omitempty"`
	Secret   bool   `json:"secret,omitempty"`
}

// A Metric is one that the service tells Prometheus.
type Metric struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // counter, gauge or histogram
	// Label is what there are several for, beside the service; or "".
	Label string `json:"label,omitempty"`
}

// DeadLetters is the topic of what the service's sidecar gives up on, or "".
func (s Service) DeadLetters() string {
	if len(s.Hears) == 0 {
		return ""
	}
	return s.Name + ".deadletter"
}

// CallsAny reports whether s calls a method that other serves.
func (s Service) CallsAny(other Service) bool {
	return s.Name != other.Name && slices.ContainsFunc(s.Calls, func(method string) bool { return slices.Contains(other.Serves, method) })
}
