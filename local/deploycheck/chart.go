package deploycheck

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"quadrille.internal/local/kube"
)

const (
	daprModule = "github.com/dapr/dapr"
	daprValues = "deploy/platform/dapr/values.yaml"
)

// A chart is Dapr's Helm chart as its Go module has it, and what deploy/ changes of it.
type chart struct {
	version     string      // of the module
	defaults    kube.Object // values.yaml, with those of the charts in it
	values      kube.Object // deploy/platform/dapr/values.yaml
	annotations []string    // that the injector reads
}

var daprAnnotation = regexp.MustCompile(`"(dapr\.io/[a-z0-9-]+)"`)

func readChart(ctx context.Context, root string) (*chart, error) {
	module, version, err := kube.Module(ctx, filepath.Join(root, "local", "toolchain", "crds"), daprModule)
	if err != nil {
		return nil, err
	}
	c := &chart{version: strings.TrimPrefix(version, "v")}
	if c.values, err = readValues(filepath.Join(root, daprValues)); err != nil {
		return nil, err
	}
	at := filepath.Join(module, "charts", "dapr")
	if c.defaults, err = readValues(filepath.Join(at, "values.yaml")); err != nil {
		return nil, err
	}
	parts, err := filepath.Glob(filepath.Join(at, "charts", "*", "values.yaml"))
	if err != nil {
		return nil, err
	}
	for _, part := range parts {
		values, err := readValues(part)
		if err != nil {
			return nil, err
		}
		c.defaults[filepath.Base(filepath.Dir(part))] = map[string]any(values)
	}
	source, err := os.ReadFile(filepath.Join(module, "pkg", "injector", "annotations", "annotations.go"))
	if err != nil {
		return nil, err
	}
	for _, found := range daprAnnotation.FindAllSubmatch(source, -1) {
		c.annotations = append(c.annotations, string(found[1]))
	}
	return c, nil
}

func readValues(file string) (kube.Object, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	values := make(kube.Object)
	if err := yaml.Unmarshal(text, (*map[string]any)(&values)); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return values, nil
}

// at is a value that the chart is installed with.
func (c *chart) at(path ...string) any {
	if own := c.values.At(path...); own != nil {
		return own
	}
	return c.defaults.At(path...)
}

// check holds Dapr's chart and its values against the pods and Argo CD's projects.
func (c *chart) check(s *set) {
	fault := func(field, problem, remedy string) {
		s.faults = append(s.faults, Fault{File: daprValues, Field: field, Problem: problem, Remedy: remedy})
	}
	for _, unknown := range strangers("", c.values, c.defaults) {
		fault(unknown, "Dapr's chart has no such value", "correct the name and the place of the value")
	}
	if tag := kube.Text(c.at("global", "tag")); tag != c.version {
		fault("global.tag", fmt.Sprintf("it is %s, and what is checked here is %s", tag, c.version), "take the release of local/toolchain/crds, or raise that one")
	}
	for _, m := range s.of("ApplicationSet", "Application") {
		for i, source := range m.List("spec", "template", "spec", "sources") {
			if source.Text("chart") == "dapr" && source.Text("targetRevision") != c.version {
				s.fault(m, fmt.Sprintf("spec.template.spec.sources[%d].targetRevision", i), "what is checked here is "+c.version, "take the release of local/toolchain/crds, or raise that one")
			}
		}
	}
	for _, m := range s.of("Configuration") {
		if m.Group() == "dapr.io" && m.At("spec", "accessControl") != nil && c.at("global", "mtls", "enabled") != true {
			fault("global.mtls.enabled", "without certificates sidecars do not know who calls them, and "+m.String()+" allows nothing or everything", "set it to true")
		}
	}
	// What the chart does not put into its own namespace, it puts here.
	namespace, projects := kube.Text(c.at("dapr_rbac", "secretReader", "namespace")), s.of("AppProject")
	if c.at("dapr_rbac", "secretReader", "enabled") == true && len(projects) > 0 &&
		!slices.ContainsFunc(projects, func(project manifest) bool { return destined(project, namespace) }) {
		fault("dapr_rbac.secretReader", "it makes a Role in the namespace "+namespace+", to which Argo CD may not apply: it would install nothing of Dapr", "set enabled to false")
	}
	for _, p := range s.pods {
		c.injected(s, p)
	}
}

// injected refuses pods that the injector passes over or does not understand.
func (c *chart) injected(s *set, p pod) {
	for name := range p.annotations() {
		if strings.HasPrefix(name, "dapr.io/") && !contains(c.annotations, name) {
			s.fault(p.owner, p.field+".metadata.annotations["+name+"]", "Dapr reads no such annotation", "correct the name")
		}
	}
	if p.app() == "" {
		return
	}
	if p.owner.Kind() == "Rollout" && c.at("global", "argoRolloutServiceReconciler", "enabled") != true {
		s.fault(p.owner, "kind", "Dapr makes no Service for the sidecars of a Rollout, so that nobody can call it", "set global.argoRolloutServiceReconciler.enabled of "+daprValues)
	}
	for key, labels := range map[string]kube.Object{"namespaceSelector": s.namespaceLabels(p.namespace), "objectSelector": p.labels()} {
		if selector := kube.Map(c.at("dapr_sidecar_injector", key)); !matches(selector, labels) {
			s.fault(p.owner, p.field+".metadata", "the injector makes no sidecar for it: dapr_sidecar_injector."+key+" of "+daprValues+" does not select it", "give it the labels, or change the selector")
		}
	}
}

// sidecar is the container that the injector adds to a pod, as far as Pod Security Standards look
// at it; nil where it adds none.
func (c *chart) sidecar(p pod) kube.Object {
	if p.app() == "" {
		return nil
	}
	security := kube.Object{
		"allowPrivilegeEscalation": false,
		"runAsNonRoot":             c.at("dapr_sidecar_injector", "sidecarRunAsNonRoot"),
		"readOnlyRootFilesystem":   c.at("dapr_sidecar_injector", "sidecarReadOnlyRootFilesystem"),
	}
	if profile := p.annotations().Text("dapr.io/sidecar-seccomp-profile-type"); profile != "" {
		security["seccompProfile"] = kube.Object{"type": profile}
	}
	if c.at("dapr_sidecar_injector", "sidecarDropALLCapabilities") == true {
		security["capabilities"] = kube.Object{"drop": []any{"ALL"}}
	}
	return kube.Object{"name": "daprd", "image": "daprd", "restartPolicy": "Always", "securityContext": security}
}

// strangers are values that a chart does not have. What is an empty map there takes any.
func strangers(at string, values, defaults kube.Object) (found []string) {
	for name, value := range values {
		path := strings.TrimPrefix(at+"."+name, ".")
		its, there := defaults[name]
		switch inner := kube.Map(value); {
		case !there:
			found = append(found, path)
		case inner != nil && len(kube.Map(its)) > 0:
			found = append(found, strangers(path, inner, kube.Map(its))...)
		}
	}
	slices.Sort(found)
	return found
}
