// Package observability reads the alerts and dashboards of deploy/platform/observability, and
// makes the dashboards.
package observability

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Folder is where alerts and dashboards are, below the root of the repository.
const Folder = "deploy/platform/observability"

// Rules are those of Prometheus, as its rule files have them.
type Rules struct {
	Groups []Group `yaml:"groups"`
}

// Group of rules that are evaluated together.
type Group struct {
	Name     string `yaml:"name"`
	Interval string `yaml:"interval"`
	Rules    []Rule `yaml:"rules"`
}

// Rule is an alert, or what is recorded.
type Rule struct {
	Record      string            `yaml:"record,omitempty"`
	Alert       string            `yaml:"alert,omitempty"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

// ReadRules reads the rules of a repository. A field that is not known is an error.
func ReadRules(root string) (Rules, error) {
	path := filepath.Join(root, Folder, "rules.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		return Rules{}, err
	}
	var object struct {
		APIVersion string         `yaml:"apiVersion"`
		Kind       string         `yaml:"kind"`
		Metadata   map[string]any `yaml:"metadata"`
		Spec       Rules          `yaml:"spec"`
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&object); err != nil {
		return Rules{}, fmt.Errorf("%s: %w", path, err)
	}
	return object.Spec, nil
}

// All are the rules of all groups.
func (r Rules) All() []Rule {
	var all []Rule
	for _, g := range r.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// WriteFile writes the rules as a plain rule file.
func (r Rules) WriteFile(path string) error {
	text, err := yaml.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

var comparison = regexp.MustCompile(`^(.*\S)\s+(?:>|<|>=|<=|==)\s+[0-9.]+$`)

// Measured are what an alert compares with numbers: each has a value also while all is well.
func (r Rule) Measured() ([]string, error) {
	if r.Alert == "" {
		return []string{r.Expr}, nil
	}
	var all []string
	for part := range strings.SplitSeq(strings.TrimSpace(r.Expr), " and ") {
		found := comparison.FindStringSubmatch(strings.TrimSpace(part))
		if found == nil {
			return nil, fmt.Errorf("alert %s: %q is no comparison with a number", r.Alert, part)
		}
		all = append(all, found[1])
	}
	return all, nil
}
