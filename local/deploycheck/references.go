package deploycheck

import (
	"fmt"
	"slices"
	"strings"

	"quadrille.internal/local/kube"
)

func contains(list []string, text string) bool { return slices.Contains(list, text) }

// secretKeys are the keys of the secret that other objects make; open is true where
// there may be others.
func (s *set) secretKeys(namespace, name string) (keys []string, open, found bool) {
	for _, m := range s.manifests {
		if m.Namespace() != namespace {
			continue
		}
		switch m.Kind() {
		case "Secret":
			if m.Name() != name {
				continue
			}
			found = true
			for _, part := range []string{"data", "stringData"} {
				for key := range m.Map(part) {
					keys = append(keys, key)
				}
			}
		case "ExternalSecret":
			if target := m.Text("spec", "target", "name"); target != name && (target != "" || m.Name() != name) {
				continue
			}
			found = true
			open = open || m.At("spec", "dataFrom") != nil
			for key := range m.Map("spec", "target", "template", "data") {
				keys = append(keys, key)
			}
			if len(keys) == 0 {
				for _, data := range m.List("spec", "data") {
					keys = append(keys, data.Text("secretKey"))
				}
			}
		case "SealedSecret":
			if m.Name() != name {
				continue
			}
			found = true
			for key := range m.Map("spec", "encryptedData") {
				keys = append(keys, key)
			}
		case "Cluster": // of CloudNativePG
			switch name {
			case m.Name() + "-app", m.Name() + "-superuser":
				keys, found = append(keys, "username", "password", "host", "port", "dbname", "uri"), true
			case m.Name() + "-ca":
				keys, found = append(keys, "ca.crt", "ca.key"), true
			}
		case "Certificate": // of cert-manager
			if m.Text("spec", "secretName") == name {
				keys, found = append(keys, "tls.crt", "tls.key", "ca.crt"), true
			}
		case "KafkaUser": // of Strimzi
			if m.Name() == name {
				keys, found = append(keys, "password", "sasl.jaas.config", "user.crt", "user.key", "user.p12", "user.password", "ca.crt"), true
			}
		}
	}
	return keys, open, found
}

// wantSecret reports a secret, or a key of it, that nothing makes. The key "" is any.
func (s *set) wantSecret(m manifest, field, namespace, name, key string) {
	keys, open, found := s.secretKeys(namespace, name)
	switch {
	case !found:
		s.fault(m, field, fmt.Sprintf("nothing makes the secret %s in the namespace %s", name, namespace), "add an ExternalSecret for it, or correct the name")
	case key != "" && !open && !contains(keys, key):
		slices.Sort(keys)
		s.fault(m, field, fmt.Sprintf("the secret %s has no key %s, but %s", name, key, strings.Join(keys, ", ")), "add the key to its ExternalSecret, or correct it here")
	}
}

func (s *set) wantConfig(m manifest, field, namespace, name, key string) {
	switch found := s.has("ConfigMap", namespace, name); {
	case !found:
		s.fault(m, field, fmt.Sprintf("there is no ConfigMap %s in the namespace %s", name, namespace), "add it, or correct the name")
	case key != "":
		for _, c := range s.of("ConfigMap") {
			if c.Name() != name || c.Namespace() != namespace {
				continue
			}
			_, text := c.Map("data")[key]
			_, binary := c.Map("binaryData")[key]
			if !text && !binary {
				s.fault(m, field, fmt.Sprintf("the ConfigMap %s has no key %s", name, key), "add the key, or correct it here")
			}
		}
	}
}

// references looks for the ConfigMaps and Secrets that pods and components name.
func references(s *set) {
	for _, p := range s.pods {
		for _, c := range p.containers() {
			for i, from := range c.List("envFrom") {
				s.source(p, from, fmt.Sprintf("%s.envFrom[%d]", c.field, i), "configMapRef", "secretRef")
			}
			for _, v := range c.List("env") {
				s.source(p, v.Map("valueFrom"), c.field+".env["+v.Text("name")+"].valueFrom", "configMapKeyRef", "secretKeyRef")
			}
			for i, mount := range c.List("volumeMounts") {
				if !slices.ContainsFunc(p.template.List("spec", "volumes"), func(v kube.Object) bool { return v.Text("name") == mount.Text("name") }) {
					s.fault(p.owner, fmt.Sprintf("%s.volumeMounts[%d]", c.field, i), "there is no volume "+mount.Text("name"), "add it to spec.volumes of the pod")
				}
			}
		}
		for _, v := range p.template.List("spec", "volumes") {
			field := p.field + ".spec.volumes[" + v.Text("name") + "]"
			s.volume(p, v, field, "secretName")
			for i, source := range v.List("projected", "sources") {
				s.volume(p, source, fmt.Sprintf("%s.projected.sources[%d]", field, i), "name")
			}
		}
		for _, ref := range p.template.List("spec", "imagePullSecrets") {
			s.wantSecret(p.owner, p.field+".spec.imagePullSecrets", p.namespace, ref.Text("name"), "")
		}
		for _, annotation := range []string{"dapr.io/app-token-secret", "dapr.io/api-token-secret"} {
			if name := p.annotations().Text(annotation); name != "" {
				s.wantSecret(p.owner, p.field+".metadata.annotations["+annotation+"]", p.namespace, name, "token")
			}
		}
	}
	for _, m := range s.of("Component") {
		if m.Group() != "dapr.io" {
			continue
		}
		for _, item := range m.List("spec", "metadata") {
			if ref := item.Map("secretKeyRef"); ref != nil {
				s.wantSecret(m, "spec.metadata["+item.Text("name")+"].secretKeyRef", m.Namespace(), ref.Text("name"), ref.Text("key"))
			}
		}
	}
	for _, m := range s.of("Ingress") {
		for i, tls := range m.List("spec", "tls") {
			if name := tls.Text("secretName"); name != "" {
				s.wantSecret(m, fmt.Sprintf("spec.tls[%d].secretName", i), m.Namespace(), name, "")
			}
		}
	}
	for _, m := range s.of("TriggerAuthentication") {
		for i, ref := range m.List("spec", "secretTargetRef") {
			s.wantSecret(m, fmt.Sprintf("spec.secretTargetRef[%d]", i), m.Namespace(), ref.Text("name"), ref.Text("key"))
		}
	}
	for _, m := range s.of("ExternalSecret") {
		kind, name := m.Text("spec", "secretStoreRef", "kind"), m.Text("spec", "secretStoreRef", "name")
		namespace := m.Namespace()
		if kind == "ClusterSecretStore" {
			namespace = ""
		} else {
			kind = "SecretStore"
		}
		if name != "" && !s.has(kind, namespace, name) {
			s.fault(m, "spec.secretStoreRef", "there is no "+kind+" "+name, "add it to deploy/platform, or correct the name")
		}
	}
}

// source checks one of the two references that a variable's value may come from.
func (s *set) source(p pod, from kube.Object, field, configKind, secretKind string) {
	if ref := from.Map(configKind); ref != nil && ref.At("optional") != true {
		s.wantConfig(p.owner, field, p.namespace, ref.Text("name"), ref.Text("key"))
	}
	if ref := from.Map(secretKind); ref != nil && ref.At("optional") != true {
		s.wantSecret(p.owner, field, p.namespace, ref.Text("name"), ref.Text("key"))
	}
}

// volume checks what is mounted; a secret is named by secretName or in a projection by name.
func (s *set) volume(p pod, v kube.Object, field, secretName string) {
	if ref := v.Map("configMap"); ref != nil && ref.At("optional") != true {
		s.wantConfig(p.owner, field, p.namespace, ref.Text("name"), "")
		for _, item := range ref.List("items") {
			s.wantConfig(p.owner, field, p.namespace, ref.Text("name"), item.Text("key"))
		}
	}
	if ref := v.Map("secret"); ref != nil && ref.At("optional") != true {
		s.wantSecret(p.owner, field, p.namespace, ref.Text(secretName), "")
		for _, item := range ref.List("items") {
			s.wantSecret(p.owner, field, p.namespace, ref.Text(secretName), item.Text("key"))
		}
	}
}

// accounts looks for the ServiceAccounts of pods and role bindings.
func accounts(s *set) {
	for _, p := range s.pods {
		name := p.template.Text("spec", "serviceAccountName")
		field := p.field + ".spec.serviceAccountName"
		switch {
		case p.app() != "" && (name == "" || name == "default"):
			s.fault(p.owner, field, "the service runs as the account that every pod of the namespace has", "give it a ServiceAccount of its own")
		case name != "" && name != "default" && !s.has("ServiceAccount", p.namespace, name):
			s.fault(p.owner, field, fmt.Sprintf("there is no ServiceAccount %s in the namespace %s", name, p.namespace), "add it, or correct the name")
		}
	}
	for _, m := range s.of("RoleBinding", "ClusterRoleBinding") {
		for i, subject := range m.List("subjects") {
			if subject.Text("kind") == "ServiceAccount" && !s.has("ServiceAccount", subject.Text("namespace"), subject.Text("name")) {
				s.fault(m, fmt.Sprintf("subjects[%d]", i), "there is no ServiceAccount "+subject.Text("namespace")+"/"+subject.Text("name"), "add it, or correct the name")
			}
		}
	}
}
