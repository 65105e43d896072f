package contract

import (
	"path/filepath"
	"strings"
	"testing"
)

// topics of each service, by its name.
type topics map[string]map[string]bool

func newTopics() topics {
	all := make(topics)
	for _, s := range services {
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
	types := eventTypes(t)
	_, receives := documentedTopics(t)
	for _, s := range services {
		same(t, s, subscriptions(parse(t, folder(s)+"/main.go"), types), receives[s])
	}
}

// The broker lets each service do what it does, and nothing more: what is
// documented, and the dead letters of what it receives.
func TestComponentsAllowWhatIsDocumented(t *testing.T) {
	sends, receives := documentedTopics(t)
	allowed := valuesOf(eventTypes(t))
	for _, s := range services {
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
			same(t, "scopes", texts(c.child("scopes")), set(services...))
			publishing, subscription := scopes(t, c, "publishingScopes"), scopes(t, c, "subscriptionScopes")
			for _, s := range services {
				same(t, s+" publishes", publishing[s], sends[s])
				same(t, s+" subscribes", subscription[s], receives[s])
			}
		})
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
	if len(all) != len(services) {
		t.Errorf("%s names %d apps, want %d", name, len(all), len(services))
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
