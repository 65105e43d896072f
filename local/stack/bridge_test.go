package stack

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// The sidecar of the one process may carry every topic that a service hears and make every
// call that a service makes, and nothing else changes.
func TestComponentsWithTheBridge(t *testing.T) {
	read := func(name string) (before, after manifest) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join("..", "..", "components", Redis, name))
		if err != nil {
			t.Fatal(err)
		}
		with, err := withBridge(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for text, m := range map[string]*manifest{string(text): &before, string(with): &after} {
			if err := yaml.Unmarshal([]byte(text), m); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		return before, after
	}
	values := func(m manifest) map[string]string {
		found := map[string]string{}
		for _, item := range m.Spec["metadata"].([]any) {
			entry := item.(map[string]any)
			value, _ := entry["value"].(string)
			found[entry["name"].(string)] = strings.TrimSpace(value)
		}
		return found
	}

	before, after := read("pubsub.yaml")
	was, is := values(before), values(after)
	for name, value := range was {
		if !strings.HasPrefix(is[name], value) {
			t.Errorf("%s was %s, is %s", name, value, is[name])
		}
	}
	for _, scopes := range []string{"publishingScopes", "subscriptionScopes"} {
		_, mine, found := strings.Cut(is[scopes], Together+"=")
		topics := strings.Split(mine, ",")
		for scope := range strings.SplitSeq(was["subscriptionScopes"], ";") {
			app, heard, _ := strings.Cut(strings.TrimSpace(scope), "=")
			for topic := range strings.SplitSeq(heard, ",") {
				if want := topic != "" && topic != app+".deadletter"; want != slices.Contains(topics, topic) {
					t.Errorf("%s of the bridge: %q is there: %v, want %v", scopes, topic, !want, want)
				}
			}
		}
		if !found || !slices.Contains(topics, Together+".deadletter") || slices.Contains(topics, "inventory.committed") {
			t.Errorf("%s of the bridge are %s", scopes, mine)
		}
	}
	for _, name := range []string{"pubsub.yaml", "secrets.yaml"} {
		before, after := read(name)
		if !slices.Equal(after.Scopes, append(before.Scopes, Together)) {
			t.Errorf("%s is for %v, was for %v", name, after.Scopes, before.Scopes)
		}
	}
	for _, name := range []string{"statestore.yaml", "workflows.yaml", "resiliency.yaml"} {
		if before, after := read(name); !slices.Equal(after.Scopes, before.Scopes) {
			t.Errorf("%s is for %v, was for %v", name, after.Scopes, before.Scopes)
		}
	}

	before, after = read("config.yaml")
	policies := func(m manifest) []any { return m.Spec["accessControl"].(map[string]any)["policies"].([]any) }
	had, has := policies(before), policies(after)
	if len(has) != len(had)+1 {
		t.Fatalf("%d policies, were %d", len(has), len(had))
	}
	mine := has[len(had)].(map[string]any)
	methods := func(policy any) map[any]bool {
		found := map[any]bool{}
		operations, _ := policy.(map[string]any)["operations"].([]any)
		for _, o := range operations {
			found[o.(map[string]any)["name"]] = true
		}
		return found
	}
	called := map[any]bool{}
	for _, policy := range had {
		maps.Copy(called, methods(policy))
	}
	if mine["appId"] != Together || mine["defaultAction"] != "deny" || !maps.Equal(methods(mine), called) {
		t.Errorf("the policy of the bridge is %v, and others call %v", mine, called)
	}
}

// Without what the bridge is added to, it says so: Dapr would let it do everything.
func TestComponentsWithoutScopesAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"scopes":   "kind: Component\nspec: {type: pubsub.redis, metadata: [{name: subscriptionScopes, value: 'order=a'}]}",
		"topics":   "kind: Component\nspec: {type: pubsub.redis, metadata: []}",
		"policies": "kind: Configuration\nspec: {accessControl: {defaultAction: deny}}",
	} {
		if out, err := withBridge([]byte(text)); err == nil {
			t.Errorf("without %s it became %s", name, out)
		}
	}
}

func TestEntriesOfAStreamAreCompared(t *testing.T) {
	for _, c := range []struct {
		a, b   string
		before bool
	}{
		{"0-0", "1-0", true}, {"1-0", "0-0", false}, {"5-1", "5-2", true}, {"5-2", "5-2", false},
		{"9-0", "10-0", true}, {"1700000000000-9", "1700000000000-10", true}, {"10-0", "9-5", false},
	} {
		if got := before(c.a, c.b); got != c.before {
			t.Errorf("%s before %s: %v", c.a, c.b, got)
		}
	}
}

// What is outside is remembered, in the order of the services, and only in one process.
func TestWhatIsOutsideIsRemembered(t *testing.T) {
	dir := t.TempDir()
	s, err := New(Options{Dir: dir, PortShift: testShift, Broker: OneProcess})
	if err != nil {
		t.Fatal(err)
	}
	remember := func(apps ...string) {
		t.Helper()
		if err := s.rememberOutside(apps); err != nil {
			t.Fatal(err)
		}
	}
	remember("order", "payment")
	if out, in := s.Outside(), s.inside(); !slices.Equal(out, []string{"payment", "order"}) || slices.Contains(in, "order") || len(in) != len(s.Apps())-2 {
		t.Errorf("outside are %v, inside %v", out, in)
	}
	if processes := s.ServiceProcesses(); !slices.Equal(processes, []string{Together, "payment", "payment-daprd", "order", "order-daprd"}) {
		t.Errorf("the processes are %v", processes)
	}
	onDapr, err := New(Options{Dir: dir, PortShift: testShift, Broker: Redis})
	if err != nil || onDapr.Outside() != nil {
		t.Errorf("on Dapr outside are %v, %v", onDapr.Outside(), err)
	}
	for _, app := range []string{"payment", "order", "order"} {
		if err := s.forgetOutside(app); err != nil {
			t.Fatal(err)
		}
	}
	if out := s.Outside(); len(out) > 0 {
		t.Errorf("outside are %v after all are back", out)
	}
}
