package deploycheck

import (
	"fmt"
	"slices"
	"strings"

	"quadrille.internal/platform/service/declared"
)

// components holds Dapr's components against the services: who loads them, and who may
// publish and hear what.
func components(s *set) {
	for _, m := range s.of("Component", "Subscription", "Resiliency", "HTTPEndpoint") {
		if m.Group() != "dapr.io" {
			continue
		}
		for i, id := range m.Texts("scopes") {
			if _, known := s.service(id); !known {
				s.fault(m, fmt.Sprintf("scopes[%d]", i), "there is no service "+id, "name one of "+s.serviceNames())
			}
		}
		if store := m.Text("auth", "secretStore"); store != "" && store != "kubernetes" && !s.has("Component", m.Namespace(), store) {
			s.fault(m, "auth.secretStore", "there is no component "+store, "add it, or take the store kubernetes")
		}
		if strings.HasPrefix(m.Text("spec", "type"), "pubsub.") {
			s.scopes(m)
		}
		if m.Kind() == "Subscription" && !contains(s.topics(), m.Text("spec", "topic")) {
			s.fault(m, "spec.topic", "no service emits "+m.Text("spec", "topic"), "name a topic of docs/events.md")
		}
	}
}

// loaded refuses services whose sidecar has no component for what they declare.
func loaded(s *set) {
	for _, p := range s.pods {
		d, known := s.service(p.app())
		if !known {
			continue
		}
		broker := func(m manifest) bool { return strings.HasPrefix(m.Text("spec", "type"), "pubsub.") }
		if len(d.Emits)+len(d.Hears) > 0 && !s.loads(p, broker) {
			s.fault(p.owner, p.field, d.Name+" has topics, and its sidecar loads no broker", "add the component to deploy/platform/dapr, or the service to its scopes")
		}
		actors := func(m manifest) bool {
			return slices.ContainsFunc(m.List("spec", "metadata"), func(o kubeObject) bool {
				return o.Text("name") == "actorStateStore" && o.Text("value") == "true"
			})
		}
		if d.Workflows && !s.loads(p, actors) {
			s.fault(p.owner, p.field, d.Name+" has workflows, and its sidecar loads no actorStateStore to keep them in", "add the component to deploy/platform/dapr, or the service to its scopes")
		}
	}
	for _, m := range s.of("Component") {
		if strings.HasPrefix(m.Text("spec", "type"), "pubsub.") && !slices.ContainsFunc(s.of("Resiliency"), func(r manifest) bool {
			return r.Namespace() == m.Namespace() && r.At("spec", "targets", "components", m.Name(), "inbound", "retry") != nil
		}) {
			s.fault(m, "metadata.name", "no Resiliency says that its deliveries are tried again: what a service is away for is lost or dead-lettered", "add it to deploy/platform/dapr")
		}
	}
}

func (s *set) loads(p pod, wanted func(manifest) bool) bool {
	return slices.ContainsFunc(s.of("Component"), func(m manifest) bool {
		scopes := m.Texts("scopes")
		return m.Namespace() == p.namespace && (len(scopes) == 0 || contains(scopes, p.app())) && wanted(m)
	})
}

// topics are those that the code has: types of events, and dead letters.
func (s *set) topics() (list []string) {
	for _, d := range s.services {
		list = append(list, d.Emits...)
		if dead := d.DeadLetters(); dead != "" {
			list = append(list, dead)
		}
	}
	return list
}

// scopes compares a broker's scopes with what services emit and hear.
func (s *set) scopes(m manifest) {
	for _, rule := range []struct {
		name string
		of   func(declared.Service) []string
	}{
		{"publishingScopes", func(d declared.Service) []string { return slices.Concat(d.Emits, d.EmittedBefore) }},
		{"subscriptionScopes", func(d declared.Service) []string { return d.Hears }},
	} {
		item := slices.IndexFunc(m.List("spec", "metadata"), func(o kubeObject) bool { return o.Text("name") == rule.name })
		field := "spec.metadata[" + rule.name + "]"
		if item < 0 {
			s.fault(m, field, "it is missing: every service may publish or hear everything", "add it, as in components/kafka/pubsub.yaml")
			continue
		}
		given := readScopes(m.List("spec", "metadata")[item].Text("value"))
		for _, d := range s.services {
			want := rule.of(d)
			if dead := d.DeadLetters(); dead != "" {
				want = append(slices.Clone(want), dead)
			}
			for _, topic := range want {
				if !contains(given[d.Name], topic) {
					s.fault(m, field, fmt.Sprintf("%s may not use %s, which it declares", d.Name, topic), "run quad generate")
				}
			}
			for _, topic := range given[d.Name] {
				if !contains(want, topic) {
					s.fault(m, field, fmt.Sprintf("%s may use %s, which it does not declare", d.Name, topic), "run quad generate")
				}
			}
			delete(given, d.Name)
		}
		for id := range given {
			s.fault(m, field, "there is no service "+id, "name one of "+s.serviceNames())
		}
	}
}

// readScopes reads "app=topic,topic;app=topic".
func readScopes(text string) map[string][]string {
	scopes := make(map[string][]string)
	for part := range strings.SplitSeq(text, ";") {
		app, list, _ := strings.Cut(strings.TrimSpace(part), "=")
		if app == "" {
			continue
		}
		scopes[app] = strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	}
	return scopes
}

// policies holds the access control of sidecars against the declared calls.
func policies(s *set) {
	for _, m := range s.of("Configuration") {
		control := m.Map("spec", "accessControl")
		if m.Group() != "dapr.io" || control == nil {
			continue
		}
		const field = "spec.accessControl.policies"
		if control.Text("defaultAction") != "deny" {
			s.fault(m, "spec.accessControl.defaultAction", "what is not named is allowed", "deny it")
		}
		for _, d := range s.services {
			i := slices.IndexFunc(control.List("policies"), func(o kubeObject) bool { return o.Text("appId") == d.Name })
			if i < 0 {
				if len(d.Calls) > 0 {
					s.fault(m, field, fmt.Sprintf("%s may call nothing, and declares %s", d.Name, d.Calls[0]), "run quad generate")
				}
				continue
			}
			policy := control.List("policies")[i]
			for _, p := range s.pods {
				if p.app() == d.Name && p.namespace != policy.Text("namespace") {
					s.fault(m, fmt.Sprintf("%s[%d].namespace", field, i), fmt.Sprintf("%s runs in the namespace %s, so that none of its calls would be allowed", d.Name, p.namespace),
						"name that namespace")
				}
			}
			var allowed []string
			for _, operation := range policy.List("operations") {
				if operation.Text("action") == "allow" {
					allowed = append(allowed, operation.Text("name"))
				}
			}
			for _, method := range d.Calls {
				if !contains(allowed, method) {
					s.fault(m, fmt.Sprintf("%s[%d].operations", field, i), fmt.Sprintf("%s may not call %s, which it declares", d.Name, method), "run quad generate")
				}
			}
			for _, method := range allowed {
				if !contains(d.Calls, method) {
					s.fault(m, fmt.Sprintf("%s[%d].operations", field, i), fmt.Sprintf("%s may call %s, which it does not declare", d.Name, method), "run quad generate")
				}
			}
		}
		for i, policy := range control.List("policies") {
			if _, known := s.service(policy.Text("appId")); !known {
				s.fault(m, fmt.Sprintf("%s[%d].appId", field, i), "there is no service "+policy.Text("appId"), "name one of "+s.serviceNames())
			}
		}
	}
}

// topics compares the topics of a broker that manifests make with those that the code has.
func topics(s *set) {
	have := s.of("KafkaTopic")
	var made []string
	for _, m := range have {
		name := m.Text("spec", "topicName")
		if name == "" {
			name = m.Name()
		}
		made = append(made, name)
		if !contains(s.topics(), name) {
			s.fault(m, "spec.topicName", "no service emits "+name, "name a topic of docs/events.md")
		}
	}
	if len(have) == 0 {
		for _, m := range s.of("Component") {
			if m.Text("spec", "type") == "pubsub.kafka" && len(s.brokers(m.Namespace())) > 0 {
				s.fault(m, "spec.metadata[brokers]", "nothing makes the topics of this broker, which is in the cluster", "add topics.yaml to the kustomization of deploy/platform/kafka")
			}
		}
		return
	}
	for _, topic := range s.topics() {
		if !contains(made, topic) {
			s.faults = append(s.faults, Fault{File: have[0].file, Object: "KafkaTopic", Field: "spec.topicName",
				Problem: "nothing makes the topic " + topic, Remedy: "run quad generate"})
		}
	}
}

// scaling holds KEDA's triggers on Kafka against what services hear.
func scaling(s *set) {
	for _, m := range s.of("ScaledObject") {
		for i, trigger := range m.List("spec", "triggers") {
			field := fmt.Sprintf("spec.triggers[%d].metadata", i)
			if ref := trigger.Text("authenticationRef", "name"); ref != "" && !s.has("TriggerAuthentication", m.Namespace(), ref) && !s.has("ClusterTriggerAuthentication", "", ref) {
				s.fault(m, fmt.Sprintf("spec.triggers[%d].authenticationRef", i), "there is no TriggerAuthentication "+ref, "add it, or correct the name")
			}
			if trigger.Text("type") != "kafka" {
				continue
			}
			if at := trigger.Text("metadata", "bootstrapServers"); !contains(s.brokerAddresses(m.Namespace()), at) {
				s.fault(m, field+".bootstrapServers", fmt.Sprintf("the sidecars' broker is not at %q", at), "write the address of the component")
			}
			d, known := s.service(trigger.Text("metadata", "consumerGroup"))
			topic := trigger.Text("metadata", "topic")
			switch {
			case !known:
				s.fault(m, field+".consumerGroup", "no service is the consumer group "+trigger.Text("metadata", "consumerGroup"), "name the app id of the service")
			case len(d.Hears) == 0:
				s.fault(m, field+".consumerGroup", d.Name+" hears no topic", "scale it by something else")
			case topic != "" && !contains(d.Hears, topic):
				s.fault(m, field+".topic", d.Name+" does not hear "+topic, "name one of "+strings.Join(d.Hears, ", "))
			}
		}
	}
}
