package deploycheck

import (
	"strings"
	"testing"

	"quadrille.internal/local/kube"
)

// Dapr's chart is held against the values that it is installed with, the pods and the project.
func TestChart(t *testing.T) {
	dapr, err := readChart(t.Context(), "../..")
	if err != nil {
		t.Fatal(err)
	}
	rollouts := kube.Object{"enabled": true}
	sidecars := kube.Object{"global": kube.Object{"tag": dapr.version, "argoRolloutServiceReconciler": rollouts}, "dapr_rbac": kube.Object{"secretReader": kube.Object{"enabled": false}}}
	injector := func(key string, value any) func(kube.Object) {
		return func(values kube.Object) { values["dapr_sidecar_injector"] = kube.Object{key: value} }
	}
	for name, test := range map[string]struct {
		change         func(values kube.Object)
		old, new       string
		field, problem string
		faults         int
	}{
		"sound":               {change: func(kube.Object) {}},
		"one label is enough": {change: injector("namespaceSelector", kube.Object{"matchLabels": kube.Object{enforce: "restricted"}})},
		"no such value": {change: injector("sidecarDropAllCapabilities", true), faults: 1,
			field: "dapr_sidecar_injector.sidecarDropAllCapabilities", problem: "no such value"},
		"another release": {change: func(v kube.Object) {
			v["global"] = kube.Object{"tag": "1.0.0", "argoRolloutServiceReconciler": rollouts}
		}, faults: 1,
			field: "global.tag", problem: "it is 1.0.0"},
		"a namespace that Argo CD may not apply to": {change: func(v kube.Object) { delete(v, "dapr_rbac") }, faults: 1,
			field: "dapr_rbac.secretReader", problem: "in the namespace default, to which Argo CD may not apply"},
		"no certificates": {change: func(v kube.Object) {
			v["global"] = kube.Object{"tag": dapr.version, "mtls": kube.Object{"enabled": false}, "argoRolloutServiceReconciler": rollouts}
		}, faults: 1,
			field: "global.mtls.enabled", problem: "do not know who calls them"},
		"no Service for a Rollout": {change: func(v kube.Object) { v["global"] = kube.Object{"tag": dapr.version} }, faults: 1,
			field: "kind", problem: "no Service for the sidecars of a Rollout"},
		"another namespace": {change: injector("namespaceSelector", kube.Object{"matchLabels": kube.Object{enforce: "baseline"}}), faults: 3,
			field: "spec.template.metadata", problem: "makes no sidecar"},
		"other pods": {change: injector("objectSelector", kube.Object{"matchLabels": kube.Object{"app": "shop"}}), faults: 2,
			field: "spec.template.metadata", problem: "makes no sidecar"},
		"a misspelt annotation": {change: func(kube.Object) {}, old: "dapr.io/config: quadrille", new: "dapr.io/confg: quadrille", faults: 1,
			field: "dapr.io/confg", problem: "reads no such annotation"},
	} {
		t.Run(name, func(t *testing.T) {
			values := make(kube.Object)
			for key, value := range sidecars {
				values[key] = value
			}
			test.change(values)
			set := &set{manifests: parse(t, strings.Replace(base(t), test.old, test.new, 1))}
			set.pods = set.findPods()
			(&chart{version: dapr.version, defaults: dapr.defaults, values: values, annotations: dapr.annotations}).check(set)
			if len(set.faults) != test.faults {
				t.Fatalf("%+v, want %d faults", set.faults, test.faults)
			}
			for _, f := range set.faults {
				if !strings.Contains(f.Field, test.field) || !strings.Contains(f.Problem, test.problem) || f.File == "" || f.Remedy == "" {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}

// sidecarsAreRestricted: what the injector adds to a pod is admitted with it, with the values of
// deploy/ and not with those of the chart.
func sidecarsAreRestricted(t *testing.T, root string, server *kube.Client) {
	ours, err := readChart(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	theirs := *ours
	theirs.values = nil
	s := &set{manifests: parse(t, base(t))}
	s.pods = s.findPods()
	for name, test := range map[string]struct {
		chart *chart
		want  int
	}{"ours": {ours, 0}, "as the chart is": {&theirs, 3}} {
		faults, _, err := admit(t.Context(), server, s.manifests, s.pods, test.chart.sidecar)
		if err != nil {
			t.Fatal(err)
		}
		if len(faults) != test.want {
			t.Errorf("%s: %+v, want %d faults", name, faults, test.want)
		}
		for _, f := range faults {
			if !strings.Contains(f.Problem, "daprd") || !strings.Contains(f.Problem, "capabilities") {
				t.Errorf("%s: %+v", name, f)
			}
		}
	}
}

// Argo CD finds what its applications are made of.
func TestSourcesOfApplications(t *testing.T) {
	const app = `apiVersion: argoproj.io/v1alpha1
kind: ApplicationSet
metadata: {name: services, namespace: argocd}
spec:
  generators: [{matrix: {generators: [{clusters: {}}, {git: {directories: [{path: deploy/services/*}]}}]}}]
  template: {spec: {source: {path: "{{ .path.path }}/overlays/{{ .metadata.labels.environment }}"}, sources: [{helm: {valueFiles: [$values/deploy/platform/dapr/values.yaml]}}]}}
`
	root := writeTree(t, map[string]string{
		"deploy/services/shop/overlays/production/kustomization.yaml": "resources: []\n",
		"deploy/platform/dapr/values.yaml":                            "{}\n",
	})
	for name, test := range map[string]struct{ old, new, problem string }{
		"sound":          {"", "", ""},
		"no such folder": {"deploy/services/*", "deploy/service/*", "there is no folder deploy/service/*"},
		"no overlay":     {"/overlays/", "/overlay/", "there is no kustomization in deploy/services/shop/overlay/production"},
		"no values":      {"dapr/values.yaml", "dapr/value.yaml", "there is no file deploy/platform/dapr/value.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			tree, err := readTree(root)
			if err != nil {
				t.Fatal(err)
			}
			set := &set{manifests: parse(t, strings.Replace(app, test.old, test.new, 1))}
			tree.sources(set, "production")
			found := ""
			for _, f := range set.faults {
				found += f.Problem
			}
			if (test.problem == "") != (found == "") || !strings.Contains(found, test.problem) {
				t.Errorf("%+v, want %q", set.faults, test.problem)
			}
		})
	}
}
