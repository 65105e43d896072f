package upgrade

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// A service of the release before that starts again during an upgrade gets a sidecar with
// today's components: they let it publish, hear and call all that they did.
func TestTodaysComponentsLetTheReleaseBeforeWork(t *testing.T) {
	root, previous := recorded(t)
	source, err := previous.Source(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, broker := range []string{"local", "kafka"} {
		before, today := allowances(t, source, broker), allowances(t, root, broker)
		if len(before) < 30 {
			t.Errorf("release %s allows only %d things in components/%s", previous.Name, len(before), broker)
		}
		for what := range before {
			if !today[what] {
				t.Errorf("components/%s does not allow any more: %s; keep it for a release after the last service that needs it (docs/operating.md, Upgrading)", broker, what)
			}
		}
	}
}

// allowances are what the components of a broker let services do, in words.
func allowances(t *testing.T, root, broker string) map[string]bool {
	t.Helper()
	var pubsub struct {
		Spec struct {
			Metadata []struct{ Name, Value string }
		}
	}
	var config struct {
		Spec struct {
			AccessControl struct {
				Policies []struct {
					AppID      string `yaml:"appId"`
					Operations []struct{ Name, Action string }
				}
			} `yaml:"accessControl"`
		}
	}
	for name, to := range map[string]any{"pubsub.yaml": &pubsub, "config.yaml": &config} {
		text, err := os.ReadFile(filepath.Join(root, "components", broker, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, to); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	all := map[string]bool{}
	for _, m := range pubsub.Spec.Metadata {
		verb := map[string]string{"allowedTopics": "use", "publishingScopes": "publishes", "subscriptionScopes": "hears"}[m.Name]
		if verb == "" {
			continue
		}
		for scope := range strings.SplitSeq(m.Value, ";") {
			app, topics, scoped := strings.Cut(scope, "=")
			if !scoped {
				app, topics = "anybody may", scope
			}
			for topic := range strings.SplitSeq(topics, ",") {
				if topic = strings.TrimSpace(topic); topic != "" {
					all[strings.TrimSpace(app)+" "+verb+" "+topic] = true
				}
			}
		}
	}
	for _, p := range config.Spec.AccessControl.Policies {
		for _, o := range p.Operations {
			all[p.AppID+" calls "+o.Name] = o.Action == "allow"
		}
	}
	return all
}
