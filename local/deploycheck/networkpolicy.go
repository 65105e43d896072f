package deploycheck

import (
	"net/netip"
	"slices"

	"quadrille.internal/local/kube"
)

// An endpoint is one side of a connection, as network policies see it.
type endpoint struct {
	namespace string
	labels    kube.Object
	unknown   bool       // its labels are not in the manifests: any selector may mean it
	address   netip.Addr // of what is outside of the cluster
	pod       *pod       // whose ports have names
}

func (p pod) endpoint() endpoint {
	return endpoint{namespace: p.namespace, labels: p.labels(), pod: &p}
}

// A virtualPod is one that an operator makes.
type virtualPod struct {
	owner     manifest
	namespace string
	labels    kube.Object
}

func (v virtualPod) endpoint() endpoint { return endpoint{namespace: v.namespace, labels: v.labels} }

// databasePods are those of CloudNativePG's clusters.
func (s *set) databasePods() (found []virtualPod) {
	for _, m := range s.of("Cluster") {
		if m.Group() == "postgresql.cnpg.io" {
			found = append(found, virtualPod{m, m.Namespace(), kube.Object{"cnpg.io/cluster": m.Name()}})
		}
	}
	return found
}

// allowed reports whether the policies let from connect to a port of to.
func (s *set) allowed(from, to endpoint, port int, protocol string) bool {
	return s.egress(from, to, port, protocol) && s.ingress(from, to, port, protocol)
}

func (s *set) egress(from, to endpoint, port int, protocol string) bool {
	return s.permits(from, to, "Egress", "egress", "to", to, port, protocol)
}

func (s *set) ingress(from, to endpoint, port int, protocol string) bool {
	return s.permits(to, from, "Ingress", "ingress", "from", to, port, protocol)
}

// permits applies the policies of one direction that select own. Where none does,
// everything is permitted.
func (s *set) permits(own, peer endpoint, direction, rules, peers string, listener endpoint, port int, protocol string) bool {
	selected := false
	for _, m := range s.of("NetworkPolicy") {
		if !s.governs(m, own, direction) {
			continue
		}
		selected = true
		for _, rule := range m.List("spec", rules) {
			if s.portIn(rule, listener, port, protocol) && s.peerIn(m, rule, peers, peer) {
				return true
			}
		}
	}
	return !selected
}

// governs reports whether a policy decides about a direction of an endpoint.
func (s *set) governs(m manifest, e endpoint, direction string) bool {
	if m.Namespace() != e.namespace || e.unknown || e.address.IsValid() || !matches(m.Map("spec", "podSelector"), e.labels) {
		return false
	}
	types := m.Texts("spec", "policyTypes")
	if len(types) == 0 {
		types = []string{"Ingress"}
		if m.At("spec", "egress") != nil {
			types = append(types, "Egress")
		}
	}
	return contains(types, direction)
}

// isolated reports whether any policy decides about a direction of an endpoint.
func (s *set) isolated(e endpoint, direction string) bool {
	return slices.ContainsFunc(s.of("NetworkPolicy"), func(m manifest) bool { return s.governs(m, e, direction) })
}

func (s *set) portIn(rule kube.Object, listener endpoint, port int, protocol string) bool {
	ports := rule.List("ports")
	return len(ports) == 0 || slices.ContainsFunc(ports, func(p kube.Object) bool {
		of := p.Text("protocol")
		if of == "" {
			of = "TCP"
		}
		if of != protocol {
			return false
		}
		if p.At("port") == nil {
			return true
		}
		first := number(p.At("port"))
		if first == 0 && listener.pod != nil {
			first = listener.pod.port(p.Text("port"))
		}
		return port == first || port > first && port <= number(p.At("endPort"))
	})
}

func (s *set) peerIn(m manifest, rule kube.Object, peers string, e endpoint) bool {
	list := rule.List(peers)
	return len(list) == 0 || slices.ContainsFunc(list, func(peer kube.Object) bool {
		if block := peer.Map("ipBlock"); block != nil {
			return e.address.IsValid() && within(block, e.address)
		}
		if e.address.IsValid() {
			return false
		}
		if at := peer.At("namespaceSelector"); at == nil {
			if m.Namespace() != e.namespace {
				return false
			}
		} else if !matches(kube.Map(at), s.namespaceLabels(e.namespace)) {
			return false
		}
		at := peer.At("podSelector")
		return at == nil || e.unknown || matches(kube.Map(at), e.labels)
	})
}

func within(block kube.Object, address netip.Addr) bool {
	in := func(cidr string) bool {
		prefix, err := netip.ParsePrefix(cidr)
		return err == nil && prefix.Contains(address)
	}
	return in(block.Text("cidr")) && !slices.ContainsFunc(block.Texts("except"), in)
}

// namespaceLabels are those of a namespace, with the one that Kubernetes gives each.
func (s *set) namespaceLabels(name string) kube.Object {
	labels := kube.Object{"kubernetes.io/metadata.name": name}
	for _, m := range s.of("Namespace") {
		if m.Name() == name {
			for key, value := range m.Map("metadata", "labels") {
				labels[key] = value
			}
		}
	}
	return labels
}
