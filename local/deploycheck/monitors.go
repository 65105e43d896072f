package deploycheck

import (
	"fmt"
	"regexp"
	"slices"

	"quadrille.internal/local/kube"
)

const (
	sidecarMetrics     = "dapr-metrics" // the name that Dapr's injector gives the port
	sidecarMetricsPort = 9090
	monitoring         = "monitoring"
)

// ofControlPlane are metrics of a part of Dapr's control plane.
var ofControlPlane = regexp.MustCompile(`\bdapr_(sentry|operator|placement|scheduler|injector)_`)

// monitors refuses services whose metrics Prometheus does not read or may not, and alerts about
// parts of Dapr's control plane that it does not read.
func monitors(s *set) {
	all := s.of("PodMonitor")
	if len(all) == 0 {
		return
	}
	prometheus := endpoint{namespace: monitoring, unknown: true}
	for _, p := range s.pods {
		if _, known := s.service(p.app()); !known {
			continue
		}
		scraped := make(map[string]bool)
		for _, m := range all {
			if m.Namespace() != p.namespace || m.At("spec", "namespaceSelector") != nil || !matches(m.Map("spec", "selector"), p.labels()) {
				continue
			}
			for i, e := range m.List("spec", "podMetricsEndpoints") {
				name := e.Text("port")
				port := p.port(name)
				if name == sidecarMetrics {
					port = sidecarMetricsPort
				}
				if scraped[name] = true; port == 0 {
					s.fault(m, fmt.Sprintf("spec.podMetricsEndpoints[%d].port", i), fmt.Sprintf("%s has no port %s", p.owner, name), "name a port of its containers")
				} else if !s.ingress(prometheus, p.endpoint(), port, "TCP") {
					s.fault(s.blame(p.endpoint(), p.owner, "Ingress"), "spec.ingress", fmt.Sprintf("it forbids Prometheus to read the metrics of %s (port %d)", p.owner.Name(), port),
						"allow it from the namespace "+monitoring)
				}
			}
		}
		for _, name := range []string{"health", sidecarMetrics} {
			if !scraped[name] {
				s.fault(p.owner, p.field+".metadata.labels", "no PodMonitor has Prometheus read its port "+name, "have one select these pods")
			}
		}
	}
	for _, m := range s.of("PrometheusRule") {
		for g, group := range m.List("spec", "groups") {
			for r, rule := range group.List("rules") {
				found := ofControlPlane.FindStringSubmatch(rule.Text("expr"))
				if found != nil && !slices.ContainsFunc(all, func(m manifest) bool { return readsControlPlane(m, "dapr-"+found[1]) }) {
					s.fault(m, fmt.Sprintf("spec.groups[%d].rules[%d].expr", g, r), "no PodMonitor has Prometheus read dapr-"+found[1]+" in "+daprNamespace,
						"add one, with a namespaceSelector")
				}
			}
		}
	}
}

func readsControlPlane(m manifest, app string) bool {
	return slices.Contains(m.Texts("spec", "namespaceSelector", "matchNames"), daprNamespace) && matches(m.Map("spec", "selector"), kube.Object{"app": app, "app.kubernetes.io/part-of": "dapr"})
}
