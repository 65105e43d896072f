package deploycheck

import (
	"fmt"
	"strconv"
	"strings"

	"quadrille.internal/local/kube"
)

// A pod is the template of a workload's pods.
type pod struct {
	owner     manifest
	field     string // where the template is in its owner
	template  kube.Object
	namespace string
}

// templates says where workloads have the template of their pods.
var templates = map[string]string{
	"Deployment": "spec.template", "StatefulSet": "spec.template", "DaemonSet": "spec.template", "Job": "spec.template",
	"Rollout": "spec.template", "CronJob": "spec.jobTemplate.spec.template",
}

func (s *set) findPods() (found []pod) {
	for _, m := range s.manifests {
		field, is := templates[m.Kind()]
		if !is {
			continue
		}
		if template := m.Map(strings.Split(field, ".")...); template != nil {
			found = append(found, pod{m, field, template, m.Namespace()})
		}
	}
	return found
}

func (p pod) labels() kube.Object      { return p.template.Map("metadata", "labels") }
func (p pod) annotations() kube.Object { return p.template.Map("metadata", "annotations") }

// app is the app id of the pod's sidecar, or "".
func (p pod) app() string {
	if p.annotations().Text("dapr.io/enabled") != "true" {
		return ""
	}
	return p.annotations().Text("dapr.io/app-id")
}

// A container is one of a pod, with its place in the owner.
type container struct {
	kube.Object
	field string
}

func (p pod) containers() (list []container) {
	for _, kind := range []string{"initContainers", "containers"} {
		for i, c := range p.template.List("spec", kind) {
			list = append(list, container{c, p.field + ".spec." + kind + "[" + strconv.Itoa(i) + "]"})
		}
	}
	return list
}

// port returns the number of a port that a container of the pod has by name, or 0.
func (p pod) port(name string) int {
	for _, c := range p.containers() {
		for _, port := range c.List("ports") {
			if port.Text("name") == name {
				return number(port.At("containerPort"))
			}
		}
	}
	return 0
}

// resolve returns the number of a port that is given as number or name.
func (p pod) resolve(port any) int {
	if n := number(port); n > 0 {
		return n
	}
	return p.port(kube.Text(port))
}

// env are the variables of a container whose values are in the manifests.
func (s *set) env(p pod, c container) map[string]string {
	env := make(map[string]string)
	for _, from := range c.List("envFrom") {
		for key, value := range s.configMap(p.namespace, from.Text("configMapRef", "name")) {
			env[from.Text("prefix")+key] = kube.Text(value)
		}
	}
	for _, v := range c.List("env") {
		if ref := v.Map("valueFrom", "configMapKeyRef"); ref != nil {
			env[v.Text("name")] = s.configMap(p.namespace, ref.Text("name")).Text(ref.Text("key"))
			continue
		}
		env[v.Text("name")] = v.Text("value")
	}
	return env
}

func (s *set) configMap(namespace, name string) kube.Object {
	for _, m := range s.of("ConfigMap") {
		if m.Name() == name && m.Namespace() == namespace {
			return m.Map("data")
		}
	}
	return nil
}

// number is a value that is a whole number, or a text of one, and 0.
func number(value any) int {
	n, err := strconv.Atoi(kube.Text(value))
	if err != nil {
		return 0
	}
	return n
}

// matches reports whether a label selector selects labels.
func matches(selector, labels kube.Object) bool {
	for key, want := range selector.Map("matchLabels") {
		if have, there := labels[key]; !there || kube.Text(have) != kube.Text(want) {
			return false
		}
	}
	for _, e := range selector.List("matchExpressions") {
		have, there := labels[e.Text("key")]
		in := there && contains(e.Texts("values"), kube.Text(have))
		switch e.Text("operator") {
		case "In":
			if !in {
				return false
			}
		case "NotIn":
			if in {
				return false
			}
		case "Exists":
			if !there {
				return false
			}
		case "DoesNotExist":
			if there {
				return false
			}
		}
	}
	return true
}

// standards refuses namespaces in which services run and whose pods may do what they like.
// Whether pods keep to the standard the API server says.
func standards(s *set) {
	for _, p := range s.pods {
		if _, known := s.service(p.app()); !known {
			continue
		}
		if got := s.namespaceLabels(p.namespace).Text(enforce); got != "restricted" {
			s.fault(p.owner, "metadata.namespace", fmt.Sprintf("the namespace %s does not enforce the restricted Pod Security Standard", p.namespace),
				"label it "+enforce+"=restricted")
		}
	}
}

const enforce = "pod-security.kubernetes.io/enforce"
