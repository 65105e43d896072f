package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"quadrille.internal/events"
	"quadrille.internal/platform/service"
)

// A document is the part of asyncapi.yaml that is written by hand: what a topic means,
// and how its message is called there.
type document struct {
	Channels map[string]struct {
		Summary  string
		Messages struct {
			Event struct {
				Ref string `yaml:"$ref"`
			}
		}
	}
	Components struct{ Schemas map[string]any }
}

const messageRef = "#/components/messages/"

func readDocument(text string) (*document, error) {
	var d document
	return &d, yaml.Unmarshal([]byte(text), &d)
}

// message is what the message of a topic is called, and the schema of its data.
func (d *document) message(topic string) string {
	if name, ok := strings.CutPrefix(d.Channels[topic].Messages.Event.Ref, messageRef); ok && name != "" {
		return name
	}
	var name strings.Builder
	for word := range strings.SplitSeq(topic, ".") {
		name.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return name.String()
}

// missing reports the prose that cannot be generated.
func (d *document) missing(topics []string) error {
	var faults []error
	for _, topic := range topics {
		if d.Channels[topic].Summary == "" {
			faults = append(faults, fmt.Errorf("the channel %s has no summary: say what the event means", topic))
		}
		if schema := d.message(topic); d.Components.Schemas[schema] == nil {
			faults = append(faults, fmt.Errorf("components.schemas lacks %s, the data of %s: describe each field", schema, topic))
		}
	}
	return errors.Join(faults...)
}

func (c *catalog) channels(d *document) string {
	var b strings.Builder
	for _, topic := range c.types() {
		fmt.Fprintf(&b, `%[1]s:
  address: %[1]s
  summary: %[2]s
  x-senders: [%[3]s]
  x-receivers: [%[4]s]
  messages:
    event: { $ref: '%[5]s' }
`, topic, scalar(d.Channels[topic].Summary), strings.Join(c.emitters(topic), ", "),
			strings.Join(c.hearers(topic), ", "), messageRef+d.message(topic))
	}
	return b.String()
}

// scalar writes a text as YAML does, in one line.
func scalar(text string) string {
	var plain any
	if yaml.Unmarshal([]byte("x: "+text), &plain) == nil {
		if object, ok := plain.(map[string]any); ok && object["x"] == text && len(object) == 1 {
			return text
		}
	}
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}

func (c *catalog) operations(d *document) string {
	var b strings.Builder
	for _, topic := range c.types() {
		fmt.Fprintf(&b, "send%s: { action: send, channel: { $ref: '#/channels/%s' } }\n", d.message(topic), topic)
	}
	return b.String()
}

func (c *catalog) messages(d *document) string {
	var b strings.Builder
	for _, topic := range c.types() {
		fmt.Fprintf(&b, `%[1]s:
  name: %[2]s
  traits: [{ $ref: '#/components/messageTraits/CloudEvent' }]
  payload:
    allOf:
      - $ref: '#/components/schemas/Envelope'
      - properties:
          source: %[3]s
          type: { const: %[2]s }
`, d.message(topic), topic, c.sources(topic))
		if def, _ := events.Lookup(topic); def.Kind == events.KindOrder {
			b.WriteString("          subject: { $ref: '#/components/schemas/OrderId' }\n")
		}
		fmt.Fprintf(&b, `          dataschema: { const: '%[2]s' }
          data: { $ref: '#/components/schemas/%[1]s' }
`, d.message(topic), events.Schema(topic))
	}
	return b.String()
}

// sources is the schema of who sends a topic.
func (c *catalog) sources(topic string) string {
	now := c.emitters(topic)
	before := c.names(func(s service.Spec) bool { return slices.Contains(s.EmittedBefore, topic) })
	if len(before) == 0 && len(now) == 1 {
		return "{ const: " + now[0] + " }"
	}
	all := strings.Join(slices.Concat(now, before), ", ")
	return "{ enum: [" + all + "], description: " + strings.Join(before, " and ") + " in events that the release before sent. }"
}
