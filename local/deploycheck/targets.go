package deploycheck

import (
	"fmt"
	"slices"

	"quadrille.internal/local/kube"
)

// targets looks for what autoscalers scale and what services lead to.
func targets(s *set) {
	for _, m := range s.of("HorizontalPodAutoscaler", "ScaledObject") {
		ref := m.Map("spec", "scaleTargetRef")
		kind := ref.Text("kind")
		if kind == "" {
			kind = "Deployment" // KEDA's default
		}
		if !s.has(kind, m.Namespace(), ref.Text("name")) {
			s.fault(m, "spec.scaleTargetRef", fmt.Sprintf("there is no %s %s in the namespace %s", kind, ref.Text("name"), m.Namespace()),
				"name what must be scaled")
			continue
		}
		for _, p := range s.pods {
			if p.owner.Kind() == kind && p.owner.Name() == ref.Text("name") && p.namespace == m.Namespace() {
				s.scaledContainers(m, p)
			}
		}
	}
	for _, m := range s.of("Service") {
		if m.Group() != "" || len(m.Map("spec", "selector")) == 0 {
			continue
		}
		for i, port := range m.List("spec", "ports") {
			s.servicePort(m, i, port)
		}
	}
	for _, m := range s.of("Ingress") {
		for r, rule := range m.List("spec", "rules") {
			for i, path := range rule.List("http", "paths") {
				s.backend(m, fmt.Sprintf("spec.rules[%d].http.paths[%d].backend", r, i), path.Map("backend", "service"))
			}
		}
	}
}

// scaledContainers looks for the containers whose use of the processor scales a workload.
func (s *set) scaledContainers(m manifest, p pod) {
	named := func(field, name string) {
		if name != "" && !slices.ContainsFunc(p.containers(), func(c container) bool { return c.Text("name") == name }) {
			s.fault(m, field, fmt.Sprintf("%s has no container %s", p.owner, name), "name one of its containers")
		}
	}
	for i, metric := range m.List("spec", "metrics") {
		named(fmt.Sprintf("spec.metrics[%d].containerResource.container", i), metric.Text("containerResource", "container"))
	}
	for i, trigger := range m.List("spec", "triggers") {
		named(fmt.Sprintf("spec.triggers[%d].metadata.containerName", i), trigger.Text("metadata", "containerName"))
	}
}

// servicePort checks that the pods of a Service listen where it sends requests.
func (s *set) servicePort(m manifest, i int, port kube.Object) {
	target := port.At("targetPort")
	if target == nil {
		target = port.At("port")
	}
	for _, p := range s.selected(m.Namespace(), kube.Object{"matchLabels": m.At("spec", "selector")}) {
		listens := slices.ContainsFunc(p.containers(), func(c container) bool {
			return slices.ContainsFunc(c.List("ports"), func(own kube.Object) bool {
				return own.Text("name") == kube.Text(target) || own.Text("containerPort") == kube.Text(target)
			})
		})
		if !listens {
			s.fault(m, fmt.Sprintf("spec.ports[%d].targetPort", i), fmt.Sprintf("%s has no port %s", p.owner, kube.Text(target)),
				"name a port of its containers")
		}
	}
}

// backend checks the Service and port that an Ingress leads to.
func (s *set) backend(m manifest, field string, ref kube.Object) {
	for _, service := range s.of("Service") {
		if service.Name() != ref.Text("name") || service.Namespace() != m.Namespace() {
			continue
		}
		for _, port := range service.List("spec", "ports") {
			if port.Text("name") == ref.Text("port", "name") && ref.Text("port", "name") != "" ||
				port.Text("port") == ref.Text("port", "number") && ref.Text("port", "number") != "" {
				return
			}
		}
		s.fault(m, field, fmt.Sprintf("%s has no port %s%s", service, ref.Text("port", "name"), ref.Text("port", "number")), "name one of its ports")
		return
	}
	s.fault(m, field, fmt.Sprintf("there is no Service %s in the namespace %s", ref.Text("name"), m.Namespace()), "add it, or correct the name")
}

// selected are the pods in a namespace that a selector selects.
func (s *set) selected(namespace string, selector kube.Object) (found []pod) {
	for _, p := range s.pods {
		if p.namespace == namespace && matches(selector, p.labels()) {
			found = append(found, p)
		}
	}
	return found
}

// selectors refuses those that select none of the pods they are for.
func selectors(s *set) {
	for _, m := range s.manifests {
		var selector kube.Object
		field := "spec.selector"
		switch {
		case m.Kind() == "Service" && m.Group() == "":
			if selector = (kube.Object{"matchLabels": m.At("spec", "selector")}); m.At("spec", "selector") == nil {
				continue // its endpoints are somewhere else
			}
		case m.Kind() == "PodDisruptionBudget":
			selector = m.Map("spec", "selector")
		case m.Kind() == "NetworkPolicy":
			field, selector = "spec.podSelector", m.Map("spec", "podSelector")
			if len(selector) == 0 {
				continue // all pods there are
			}
		default:
			continue
		}
		if len(s.selected(m.Namespace(), selector)) == 0 && !s.selectsOthers(m.Namespace(), selector) {
			s.fault(m, field, "it selects no pod of the namespace "+m.Namespace(), "take the labels of the pods that it is for")
		}
	}
}

// selectsOthers reports whether a selector selects pods that operators make.
func (s *set) selectsOthers(namespace string, selector kube.Object) bool {
	return slices.ContainsFunc(s.databasePods(), func(p virtualPod) bool {
		return p.namespace == namespace && matches(selector, p.labels)
	})
}

// delivery looks for what a canary needs: its analysis with all arguments, and Services.
func delivery(s *set) {
	for _, m := range s.of("Rollout") {
		for _, name := range []string{"canaryService", "stableService"} {
			if service := m.Text("spec", "strategy", "canary", name); service != "" && !s.has("Service", m.Namespace(), service) {
				s.fault(m, "spec.strategy.canary."+name, "there is no Service "+service, "add it, or correct the name")
			}
		}
		for i, step := range m.List("spec", "strategy", "canary", "steps") {
			if analysis := step.Map("analysis"); analysis != nil {
				s.analysis(m, fmt.Sprintf("spec.strategy.canary.steps[%d].analysis", i), analysis)
			}
		}
		if analysis := m.Map("spec", "strategy", "canary", "analysis"); analysis != nil {
			s.analysis(m, "spec.strategy.canary.analysis", analysis)
		}
	}
	for _, m := range s.of("Application", "ApplicationSet") {
		spec := m.Map("spec")
		if m.Kind() == "ApplicationSet" {
			spec = m.Map("spec", "template", "spec")
		}
		if project := spec.Text("project"); project != "" && project != "default" && !s.has("AppProject", m.Namespace(), project) {
			s.fault(m, "spec.project", "there is no AppProject "+project, "add it, or correct the name")
		}
	}
}

func (s *set) analysis(m manifest, field string, analysis kube.Object) {
	given := make(map[string]bool)
	for _, arg := range analysis.List("args") {
		given[arg.Text("name")] = true
	}
	for _, ref := range analysis.List("templates") {
		kind, namespace := "AnalysisTemplate", m.Namespace()
		if ref.At("clusterScope") == true {
			kind, namespace = "ClusterAnalysisTemplate", ""
		}
		if !s.has(kind, namespace, ref.Text("templateName")) {
			s.fault(m, field, fmt.Sprintf("there is no %s %s", kind, ref.Text("templateName")), "add it to deploy/platform, or correct the name")
			continue
		}
		for _, t := range s.of(kind) {
			if t.Name() != ref.Text("templateName") || t.Namespace() != namespace {
				continue
			}
			for _, arg := range t.List("spec", "args") {
				if arg.At("value") == nil && arg.At("valueFrom") == nil && !given[arg.Text("name")] {
					s.fault(m, field+".args", fmt.Sprintf("%s %s wants the argument %s", kind, t.Name(), arg.Text("name")), "give it a value")
				}
			}
		}
	}
}
