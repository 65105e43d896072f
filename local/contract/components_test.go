package contract

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"quadrille.internal/services"
)

// topics of each service, by its name.
type topics map[string]map[string]bool

func newTopics() topics {
	all := make(topics)
	for _, s := range names() {
		all[s] = make(map[string]bool)
	}
	return all
}

// documentedTopics returns what asyncapi.yaml says that each service sends and receives.
func documentedTopics(t *testing.T) (sends, receives topics) {
	t.Helper()
	sends, receives = newTopics(), newTopics()
	channels := asyncAPI(t).child("channels")
	for _, topic := range channels.keys() {
		c := channels.child(topic)
		for sender := range texts(c.child("x-senders")) {
			if sends[sender] == nil {
				t.Fatalf("%s: there is no service %q", topic, sender)
			}
			sends[sender][topic] = true
		}
		for receiver := range texts(c.child("x-receivers")) {
			if receives[receiver] == nil {
				t.Fatalf("%s: there is no service %q", topic, receiver)
			}
			receives[receiver][topic] = true
		}
	}
	return sends, receives
}

func TestServicesReceiveWhatIsDocumented(t *testing.T) {
	_, receives := documentedTopics(t)
	for _, s := range services.All() {
		same(t, s.Name, set(s.Hears...), receives[s.Name])
	}
}

// The broker lets each service do what it does, and nothing more: what is
// documented, and the dead letters of what it receives.
func TestComponentsAllowWhatIsDocumented(t *testing.T) {
	sends, receives := documentedTopics(t)
	allowed := eventTypes()
	for _, s := range services.All() { // documented is what today's services send
		for _, topic := range s.EmittedBefore {
			sends[s.Name][topic] = true
		}
	}
	for _, s := range names() {
		if len(receives[s]) == 0 {
			continue
		}
		deadLetters := s + ".deadletter"
		sends[s][deadLetters], receives[s][deadLetters], allowed[deadLetters] = true, true, true
	}
	for _, folder := range []string{"local", "kafka"} {
		t.Run(folder, func(t *testing.T) {
			c := component(t, filepath.Join("components", folder, "pubsub.yaml"))
			same(t, "allowedTopics", set(split(metadata(t, c, "allowedTopics"), ",")...), allowed)
			// Otherwise an app without scopes could publish and hear everything.
			same(t, "protectedTopics", set(split(metadata(t, c, "protectedTopics"), ",")...), allowed)
			same(t, "scopes", texts(c.child("scopes")), set(names()...))
			publishing, subscription := scopes(t, c, "publishingScopes"), scopes(t, c, "subscriptionScopes")
			for _, s := range names() {
				same(t, s+" publishes", publishing[s], sends[s])
				same(t, s+" subscribes", subscription[s], receives[s])
			}
		})
	}
}

// Services call each other's gRPC services and nothing else, and each call has its one
// caller.
func TestAccessControlAllowsTheCallsThatAreMade(t *testing.T) {
	callers := map[string]string{"quadrille.inventory.v1.Allocations": "b2b"}
	want := make(topics)
	for _, method := range rpcMethods(t) {
		service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
		caller := callers[service]
		if caller == "" {
			t.Fatalf("who may call %s?", service)
		}
		if want[caller] == nil {
			want[caller] = set()
		}
		want[caller][method] = true
	}
	for _, folder := range []string{"local", "kafka"} {
		t.Run(folder, func(t *testing.T) {
			spec := component(t, filepath.Join("components", folder, "config.yaml")).child("spec")
			access := spec.child("accessControl")
			if spec.child("mtls").child("enabled").value != true || access.child("defaultAction").text() != "deny" {
				t.Error("without mTLS and a default of deny there is no access control")
			}
			policies := access.child("policies")
			if len(policies.keys()) != len(want) {
				t.Errorf("%d policies, want %d", len(policies.keys()), len(want))
			}
			for _, i := range policies.keys() {
				p := policies.child(i)
				if p.child("defaultAction").text() != "deny" {
					t.Errorf("%s may do what is not named", p.child("appId").text())
				}
				allowed := set()
				for _, j := range p.child("operations").keys() {
					op := p.child("operations").child(j)
					allowed[op.child("name").text()] = op.child("action").text() == "allow"
				}
				same(t, p.child("appId").text(), allowed, want[p.child("appId").text()])
			}
		})
	}
}

// b2b runs the only workflows, and commands them alone: it needs no rule for that.
func TestNobodyElseCommandsWorkflows(t *testing.T) {
	for _, folder := range []string{"local", "kafka"} {
		policy := component(t, filepath.Join("components", folder, "workflows.yaml"))
		if kind := policy.child("kind").text(); kind != "WorkflowAccessPolicy" {
			t.Errorf("%s: kind %q", folder, kind)
		}
		same(t, folder, texts(policy.child("scopes")), set("b2b"))
		if n := len(policy.child("spec").child("rules").keys()); n > 0 {
			t.Errorf("%s: %d rules let others in", folder, n)
		}
	}
}

// rpcMethods are all methods of our own gRPC services, as they are called.
func rpcMethods(t *testing.T) (methods []string) {
	t.Helper()
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "events", "proto", "*", "*", "*.proto"))
	if err != nil || len(files) == 0 {
		t.Fatalf("find our gRPC services: %v, %d files", err, len(files))
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var pkg, service string
		for line := range strings.Lines(string(text)) {
			words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \n;({", r) })
			if len(words) < 2 {
				continue
			}
			switch words[0] {
			case "package":
				pkg = words[1]
			case "service":
				service = words[1]
			case "rpc":
				methods = append(methods, "/"+pkg+"."+service+"/"+words[1])
			}
		}
	}
	return methods
}

// Credentials are in the secret store, which no service may ask.
func TestComponentsTakeCredentialsFromTheSecretStore(t *testing.T) {
	secret := regexp.MustCompile("(?i)password|username|connectionString|clientKey|clientCert|token|secretKey$")
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"local", "kafka"} {
		files, err := filepath.Glob(filepath.Join(root, "components", folder, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			c := component(t, filepath.Join("components", folder, filepath.Base(file)))
			if c.child("kind").text() != "Component" {
				continue
			}
			if len(c.child("scopes").keys()) == 0 {
				t.Errorf("any app may load %s", file)
			}
			items := c.child("spec").child("metadata")
			for _, i := range items.keys() {
				name := items.child(i).child("name").text()
				if !secret.MatchString(name) {
					continue
				}
				if items.child(i).child("secretKeyRef").value == nil || c.child("auth").child("secretStore").text() != "secrets" {
					t.Errorf("%s: %s is not taken from the secret store", file, name)
				}
			}
		}
		scopes := component(t, filepath.Join("components", folder, "config.yaml")).child("spec").child("secrets").child("scopes")
		denied := set()
		for _, i := range scopes.keys() {
			denied[scopes.child(i).child("storeName").text()] = scopes.child(i).child("defaultAccess").text() == "deny"
		}
		same(t, folder+": stores that no service may ask", denied, set("secrets", "kubernetes"))
	}
}

func component(t *testing.T, path string) node {
	t.Helper()
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	value, err := readYAML(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return node{value: value}
}

func metadata(t *testing.T, component node, name string) string {
	t.Helper()
	items := component.child("spec").child("metadata")
	for _, key := range items.keys() {
		if items.child(key).child("name").text() == name {
			return items.child(key).child("value").text()
		}
	}
	t.Fatalf("there is no %s", name)
	return ""
}

// scopes reads "app=topic,topic;app=topic".
func scopes(t *testing.T, component node, name string) topics {
	t.Helper()
	all := make(topics)
	for _, scope := range split(metadata(t, component, name), ";") {
		app, list, _ := strings.Cut(scope, "=")
		all[app] = set(split(list, ",")...)
	}
	if len(all) != len(names()) {
		t.Errorf("%s names %d apps, want %d", name, len(all), len(names()))
	}
	return all
}

// split returns the parts of a list, which may be empty.
func split(s, separator string) []string {
	var parts []string
	for part := range strings.SplitSeq(s, separator) {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
