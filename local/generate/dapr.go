package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// namespace is that of the services, which the access policies name.
const namespace = "quadrille"

// kafkaOf are the values of components/kafka/pubsub.yaml that come from the environment of a
// sidecar, where it runs on Kubernetes: TLS, and a user with a password.
var kafkaOf = map[string]string{
	"brokers":       "value: " + kafkaAddress,
	"authType":      "value: password",
	"saslMechanism": "value: SHA-512",
	"caCert":        "secretKeyRef: {name: broker, key: caCert}",
	"clientCert":    "", // of other ways to sign in
	"clientKey":     "",
}

// onKubernetes makes of a file of components/kafka what a cluster takes: Dapr's operator reads
// the secrets there, and its control plane has the certificates and the names.
func (c *catalog) onKubernetes(name, text string) (string, error) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(withoutMarkers(text)), &document); err != nil {
		return "", err
	}
	resource := document.Content[0]
	// What begins the file is about one machine.
	document.HeadComment, resource.HeadComment, keyOf(resource, "apiVersion").HeadComment = "", "", ""
	expand(resource)
	remove(resource, "auth")
	spec := child(resource, "spec")
	switch name {
	case "config.yaml":
		remove(spec, "mtls")
		remove(spec, "nameResolution")
		for _, policy := range child(child(spec, "accessControl"), "policies").Content {
			own := child(policy, "namespace")
			own.Value, own.HeadComment = namespace, ""
			keyOf(policy, "namespace").HeadComment = ""
		}
	case "pubsub.yaml":
		if err := setMetadata(child(spec, "metadata"), kafkaOf); err != nil {
			return "", err
		}
		scopes := child(resource, "scopes")
		scopes.Content = slices.DeleteFunc(scopes.Content, func(app *yaml.Node) bool {
			return !slices.Contains(c.names(usesBroker), app.Value)
		})
	}
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(resource); err != nil {
		return "", err
	}
	return "# Made by `quad generate` from components/kafka/" + name + ", which says why; do not edit.\n" + b.String(), nil
}

// withoutMarkers drops the lines that say where blocks are made.
func withoutMarkers(text string) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, marker) }), "")
}

// expand replaces aliases by what they stand for.
func expand(n *yaml.Node) {
	for i, c := range n.Content {
		if c.Kind == yaml.AliasNode {
			whole := *c.Alias
			n.Content[i] = &whole
		}
		n.Content[i].Anchor = ""
		expand(n.Content[i])
	}
}

// setMetadata gives the items of a component other sources, or drops those with none.
func setMetadata(items *yaml.Node, sources map[string]string) error {
	found := 0
	for _, item := range items.Content {
		source, ok := sources[child(item, "name").Value]
		if !ok {
			continue
		}
		found++
		var v yaml.Node
		if err := yaml.Unmarshal([]byte(source), &v); err != nil {
			return err
		}
		if source == "" {
			item.Content = nil
			continue
		}
		item.Content = append(item.Content[:2:2], v.Content[0].Content...)
	}
	if found != len(sources) {
		return fmt.Errorf("it has %d of the %d items that are another on Kubernetes", found, len(sources))
	}
	items.Content = slices.DeleteFunc(items.Content, func(item *yaml.Node) bool { return item.Content == nil })
	return nil
}

// child returns the value of a key of a mapping, or an empty node.
func child(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return new(yaml.Node)
}

func keyOf(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i]
		}
	}
	return new(yaml.Node)
}

func remove(mapping *yaml.Node, key string) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			mapping.Content = slices.Delete(mapping.Content, i, i+2)
			return
		}
	}
}
