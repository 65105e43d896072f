package deploycheck

import (
	"strings"
	"testing"

	"quadrille.internal/local/stack"
)

// The collector takes its configuration, and tells what is wrong with another.
func TestCollector(t *testing.T) {
	program := collector(t)
	if program == "" {
		t.Skip("SKIPPED: no collector has read deploy/platform/telemetry: `quad deploy check` builds it (some minutes the first time)")
	}
	const sound = `apiVersion: v1
kind: ConfigMap
metadata: {name: otel, namespace: quad}
data:
  config.yaml: |
    receivers: {otlp: {protocols: {http: {endpoint: "0.0.0.0:4318"}}}}
    processors: {batch: {}}
    exporters: {otlphttp: {endpoint: "${env:TRACES_ENDPOINT}"}}
    service: {pipelines: {traces: {receivers: [otlp], processors: [batch], exporters: [otlphttp]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: otel, namespace: quad}
spec:
  template:
    spec:
      containers:
        - name: otel
          image: otel/opentelemetry-collector:VERSION
          args: [--config=/etc/otel/config.yaml]
          env: [{name: TRACES_ENDPOINT, value: "http://traces:4318"}]
          volumeMounts: [{name: config, mountPath: /etc/otel}]
      volumes: [{name: config, configMap: {name: otel}}]
`
	for name, test := range map[string]struct{ old, new, problem string }{
		"sound":                 {"", "", ""},
		"an unknown field":      {"protocols: {http:", "protocol: {http:", "protocol"},
		"an unknown part":       {"{batch: {}}", "{batches: {}}", "batches"},
		"a part that is not":    {"processors: [batch]", "processors: [batch, memory_limiter]", "memory_limiter"},
		"no variable":           {"TRACES_ENDPOINT, value", "TRACE_ENDPOINT, value", "endpoint"},
		"another release":       {":" + "VERSION", ":0.1.0", "by 0.1.0 in a cluster"},
		"no such file":          {"--config=/etc/otel/config.yaml", "--config=/etc/otel/other.yaml", "in no ConfigMap"},
		"no configuration":      {"args: [--config=/etc/otel/config.yaml]", "args: []", "not told where"},
		"not where it is asked": {"mountPath: /etc/otel}", "mountPath: /etc/otelcol}", "in no ConfigMap"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(sound, test.old, test.new, 1)
			if test.problem != "" && text == sound {
				t.Fatalf("there is no %q", test.old)
			}
			set := &set{manifests: parse(t, strings.Replace(text, "VERSION", "0.160.0", 1))}
			set.pods = set.findPods()
			if err := set.collectors(t.Context(), program); err != nil {
				t.Fatal(err)
			}
			switch {
			case test.problem == "" && len(set.faults) > 0:
				t.Errorf("%+v", set.faults)
			case test.problem != "" && (len(set.faults) != 1 || !strings.Contains(set.faults[0].Problem, test.problem)):
				t.Errorf("%+v, want %q", set.faults, test.problem)
			}
		})
	}
}

// collector returns the program of local/toolchain/collector, or "" where it is not built.
func collector(t *testing.T) string {
	t.Helper()
	s, err := stack.New(stack.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if !s.KubernetesBuilt(stack.Collector) {
		return ""
	}
	return s.KubernetesTool("collector")
}
