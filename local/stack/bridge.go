package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Place says where a service of the one process is: inside, outside, or on its way, both.
type Place string

// The places, as package inprocess has them.
const (
	PlaceInside  Place = "inside"
	PlaceBoth    Place = "both"
	PlaceOutside Place = "outside"
)

// places is what the one process says of its services.
type places struct {
	Bridge   string // why its sidecar does not work
	Services []placed
}

type placed struct {
	Name  string
	Place Place
	Hears []string
	Emits []string
	Fixed string // why it cannot be moved
}

func (p places) of(app string) placed {
	i := slices.IndexFunc(p.Services, func(s placed) bool { return s.Name == app })
	if i < 0 {
		return placed{Name: app}
	}
	return p.Services[i]
}

func (s *Stack) places(ctx context.Context) (places, error) {
	return s.askBridge(ctx, http.MethodGet, "/services", nil)
}

// setPlace has the one process move a service a step, and returns when it has.
func (s *Stack) setPlace(ctx context.Context, app string, to Place) error {
	_, err := s.askBridge(ctx, http.MethodPut, "/services/"+app+"/place", map[string]Place{"place": to})
	if err != nil {
		return fmt.Errorf("move %s to %s: %w", app, to, err)
	}
	return nil
}

func (s *Stack) askBridge(ctx context.Context, method, path string, body any) (answer places, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return answer, err
	}
	ctx, cancel := context.WithTimeout(ctx, bridgeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.BridgeURL()+path, bytes.NewReader(text))
	if err != nil {
		return answer, err
	}
	req.Header.Set("Authorization", "Bearer "+s.admin[Together])
	req.Header.Set("Content-Type", "application/json")
	resp, err := bridgeClient.Do(req)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return answer, err
	}
	if resp.StatusCode != http.StatusOK {
		return answer, fmt.Errorf("the process answers %s: %s", resp.Status, strings.TrimSpace(string(got)))
	}
	return answer, json.Unmarshal(got, &answer)
}

// bridgeClient has no limit of its own: a service takes its time to start and to stop.
var bridgeClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// bridgeComponents is a copy of the components in which the one process's sidecar may
// carry all topics and make the calls of all services. It is made only where services are
// moved: components/ gives each app what it needs and nothing for all.
func (s *Stack) bridgeComponents() string { return filepath.Join(s.Dir, "run", "components") }

func (s *Stack) writeBridgeComponents() error {
	if err := os.MkdirAll(s.bridgeComponents(), 0o755); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(s.Root, "components", Redis, "*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if text, err = withBridge(text); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := os.WriteFile(filepath.Join(s.bridgeComponents(), filepath.Base(file)), text, 0o644); err != nil { //nolint:gosec // the files are our own
			return err
		}
	}
	return nil
}

// manifest is what withBridge has to know of a component or a configuration; the rest is
// kept as it is.
type manifest struct {
	Kind     string
	Metadata map[string]any
	Spec     map[string]any
	Scopes   []string       `yaml:",omitempty"`
	Rest     map[string]any `yaml:",inline"`
}

// withBridge lets the sidecar of the one process use the broker and its credentials,
// publish and hear what any service hears, and call what any service calls.
func withBridge(text []byte) ([]byte, error) {
	var m manifest
	if err := yaml.Unmarshal(text, &m); err != nil {
		return nil, err
	}
	switch kind, _ := m.Spec["type"].(string); {
	case m.Kind == "Configuration":
		if err := allowBridgeCalls(m.Spec); err != nil {
			return nil, err
		}
	case strings.HasPrefix(kind, "pubsub."):
		m.Scopes = append(m.Scopes, Together)
		if err := allowBridgeTopics(m.Spec); err != nil {
			return nil, err
		}
	case strings.HasPrefix(kind, "secretstores."):
		m.Scopes = append(m.Scopes, Together)
	}
	return yaml.Marshal(m)
}

// allowBridgeTopics adds the bridge to the scopes of a broker.
func allowBridgeTopics(spec map[string]any) error {
	entries := make(map[string]map[string]any)
	items, _ := spec["metadata"].([]any)
	for _, item := range items {
		if entry, ok := item.(map[string]any); ok {
			name, _ := entry["name"].(string)
			entries[name] = entry
		}
	}
	value := func(name string) string { text, _ := entries[name]["value"].(string); return text }
	var heard []string
	for scope := range strings.SplitSeq(value("subscriptionScopes"), ";") {
		_, topics, _ := strings.Cut(strings.TrimSpace(scope), "=")
		for topic := range strings.SplitSeq(topics, ",") {
			if topic != "" && !strings.HasSuffix(topic, ".deadletter") && !slices.Contains(heard, topic) {
				heard = append(heard, topic)
			}
		}
	}
	if len(heard) == 0 {
		return fmt.Errorf("there are no subscriptionScopes to add %s to", Together)
	}
	dead := Together + ".deadletter"
	topics := strings.Join(append(heard, dead), ",")
	for name, added := range map[string]string{
		"allowedTopics": "," + dead, "protectedTopics": "," + dead,
		"publishingScopes": ";" + Together + "=" + topics, "subscriptionScopes": ";" + Together + "=" + topics,
	} {
		if entries[name] == nil {
			return fmt.Errorf("there is no %s to add %s to", name, Together)
		}
		entries[name]["value"] = strings.TrimSpace(value(name)) + added
	}
	return nil
}

// allowBridgeCalls has callees let the bridge make the calls that any service may.
func allowBridgeCalls(spec map[string]any) error {
	access, _ := spec["accessControl"].(map[string]any)
	policies, _ := access["policies"].([]any)
	if len(policies) == 0 {
		return fmt.Errorf("there are no policies of accessControl to add %s to", Together)
	}
	var operations []any
	for _, p := range policies {
		policy, _ := p.(map[string]any)
		allowed, _ := policy["operations"].([]any)
		operations = append(operations, allowed...)
	}
	access["policies"] = append(policies, map[string]any{
		"appId": Together, "defaultAction": "deny", "trustDomain": "public", "namespace": "default", "operations": operations,
	})
	return nil
}
