// Package components reads a folder of Dapr component files: who may use which topic, and
// how its events are delivered.
package components

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The types of the pub/sub component that are known.
const (
	Redis = "pubsub.redis"
	Kafka = "pubsub.kafka"
)

// pubsub is the component that services subscribe at.
const pubsub = "pubsub"

// TopicsFile says how the topics of a Kafka cluster are made, in Kafka's own names. It is
// in a folder of its own: sidecars warn of each file beside theirs that they do not know.
const TopicsFile = "topics/topics.properties"

// A Folder is what the files of a folder say.
type Folder struct {
	Path string
	// Type is that of the pub/sub component, and Metadata its values. One that comes from
	// the environment or from a secret is not in them.
	Type     string
	Metadata map[string]string
	// Topics are the settings of TopicsFile, if there is one.
	Topics map[string]string
	// Scopes are the apps whose sidecars load the component; none means all.
	Scopes []string

	resiliency []resiliency
}

type component struct {
	Kind     string `yaml:"kind"`
	Metadata struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Spec struct {
		Type     string `yaml:"type"`
		Metadata []struct {
			Name  string    `yaml:"name"`
			Value yaml.Node `yaml:"value"`
		} `yaml:"metadata"`
	} `yaml:"spec"`
	Scopes []string `yaml:"scopes"`
}

type resiliency struct {
	Spec struct {
		Policies struct {
			Retries map[string]retry `yaml:"retries"`
		} `yaml:"policies"`
		Targets struct {
			Components map[string]struct {
				Inbound struct {
					Retry string `yaml:"retry"`
				} `yaml:"inbound"`
			} `yaml:"components"`
		} `yaml:"targets"`
	} `yaml:"spec"`
	Scopes []string `yaml:"scopes"`
}

// retry is a policy as Dapr has it.
type retry struct {
	Policy      string `yaml:"policy"`
	Duration    string `yaml:"duration"`
	MaxInterval string `yaml:"maxInterval"`
	MaxRetries  *int   `yaml:"maxRetries"`
}

// Read reads the files of a folder, as a sidecar would.
func Read(path string) (*Folder, error) {
	f := &Folder{Path: path}
	files, err := filepath.Glob(filepath.Join(path, "*.y*ml"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil {
			err = f.take(text)
		}
		if err != nil {
			return nil, fmt.Errorf("read components: %s: %w", file, err)
		}
	}
	if f.Type == "" {
		return nil, fmt.Errorf("read components: no file in %s has a component called %s", path, pubsub)
	}
	if f.Type != Redis && f.Type != Kafka {
		return nil, fmt.Errorf("read components: %s is of the type %s; only %s and %s are known", pubsub, f.Type, Redis, Kafka)
	}
	f.Topics, err = readProperties(filepath.Join(path, TopicsFile))
	return f, err
}

// take reads the documents of a file.
func (f *Folder) take(text []byte) error {
	documents := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var document yaml.Node
		if err := documents.Decode(&document); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var c component
		if err := document.Decode(&c); err != nil {
			return err
		}
		switch {
		case c.Kind == "Component" && c.Metadata.Name == pubsub:
			f.Type, f.Scopes, f.Metadata = c.Spec.Type, c.Scopes, make(map[string]string)
			for _, item := range c.Spec.Metadata {
				value := item.Value
				if value.Kind == yaml.AliasNode {
					value = *value.Alias
				}
				f.Metadata[strings.ToLower(item.Name)] = value.Value
			}
		case c.Kind == "Resiliency":
			var r resiliency
			if err := document.Decode(&r); err != nil {
				return err
			}
			f.resiliency = append(f.resiliency, r)
		}
	}
}

// readProperties reads Java's simplest form of properties: name=value, # begins a comment.
func readProperties(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	settings := make(map[string]string)
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, found := strings.Cut(line, "=")
		if !found {
			return nil, fmt.Errorf("read %s: %q is not name=value", path, line)
		}
		settings[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return settings, nil
}

// value returns a setting of the component, whose name counts without case, or Dapr's own.
func (f *Folder) value(name, byDefault string) string {
	if v := f.Metadata[strings.ToLower(name)]; v != "" {
		return v
	}
	return byDefault
}

// AllTopics are those that anybody may use, dead letters included.
func (f *Folder) AllTopics() []string { return listed(f.value("allowedTopics", "")) }

// Publishing is which topics each app may publish.
func (f *Folder) Publishing() map[string][]string { return scopes(f.value("publishingScopes", "")) }

// Subscribing is which topics each app may subscribe to.
func (f *Folder) Subscribing() map[string][]string { return scopes(f.value("subscriptionScopes", "")) }

// scopes reads app=topic,topic;app=topic as Dapr does.
func scopes(text string) map[string][]string {
	byApp := make(map[string][]string)
	for part := range strings.SplitSeq(text, ";") {
		if app, topics, found := strings.Cut(part, "="); found {
			byApp[strings.TrimSpace(app)] = listed(topics)
		}
	}
	return byApp
}

func listed(text string) []string {
	list := strings.Split(strings.ReplaceAll(text, " ", ""), ",")
	return slices.DeleteFunc(list, func(topic string) bool { return topic == "" })
}

// whoMay are the apps that have a topic in their scopes, sorted.
func whoMay(byApp map[string][]string, topic string) []string {
	apps := []string{}
	for app, topics := range byApp {
		if slices.Contains(topics, topic) {
			apps = append(apps, app)
		}
	}
	slices.Sort(apps)
	return apps
}

// inboundRetry is the policy by which an app's sidecar delivers again what the app did not
// take. ok is false where there is none.
func (f *Folder) inboundRetry(app string) (policy retry, ok bool) {
	for _, r := range f.resiliency {
		if len(r.Scopes) > 0 && !slices.Contains(r.Scopes, app) {
			continue
		}
		if name := r.Spec.Targets.Components[pubsub].Inbound.Retry; name != "" {
			policy, ok = r.Spec.Policies.Retries[name]
		}
	}
	return policy, ok
}
