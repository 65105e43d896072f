package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// SpecVersion is the CloudEvents version of every envelope.
const SpecVersion = "1.0"

// Envelope is a CloudEvents 1.0 event in structured JSON mode, as it lies on
// the broker. Extension traceparent (W3C) carries the order's trace.
type Envelope struct {
	SpecVersion     string    `json:"specversion"`
	ID              uuid.UUID `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	DataSchema      string    `json:"dataschema"`
	TraceParent     string    `json:"traceparent,omitempty"`
}

// Schema names the contract of a payload. A change that would break a consumer
// gets a topic of its own, and both are published for a while; a topic whose
// contract changed under its consumers would park every event at those not yet
// upgraded. The type, and so the topic, of a second version ends with ".v2".
func Schema(eventType string) string {
	if of, ok := strings.CutSuffix(eventType, ".v2"); ok {
		return "urn:quadrille:" + of + ":v2"
	}
	return "urn:quadrille:" + eventType + ":v1"
}

// Encode wraps an event. source is the publishing service, traceParent may be
// empty. The result is what is stored in the outbox and published unchanged.
func Encode(id uuid.UUID, source string, at time.Time, traceParent string, e Event) ([]byte, error) {
	if err := e.Validate(); err != nil {
		return nil, fmt.Errorf("encode %s: %w", e.Type(), err)
	}
	data, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", e.Type(), err)
	}
	b := make([]byte, 0, len(data)+384)
	b = append(b, `{"specversion":"1.0","id":"`...)
	b = append(b, id.String()...)
	b = append(b, `","source":"`...)
	b = append(b, source...)
	b = append(b, `","type":"`...)
	b = append(b, e.Type()...)
	b = append(b, `","subject":"`...)
	b = append(b, e.Subject()...)
	b = append(b, `","time":"`...)
	b = at.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","datacontenttype":"application/json","dataschema":"`...)
	b = append(b, Schema(e.Type())...)
	if traceParent != "" {
		b = append(b, `","traceparent":"`...)
		b = append(b, traceParent...)
	}
	b = append(b, `","data":`...)
	b = append(b, data...)
	return append(b, '}'), nil
}

// ErrForeignSource says that an event names a sender that does not send its type.
var ErrForeignSource = errors.New("the source is not the sender of this type")

// Decode reads an envelope and its typed payload, and checks both. The envelope
// is returned, as far as it could be read, with an error too. A trace context that is
// none is left out: events that this one causes would bear it, in their JSON, too.
func Decode(raw []byte) (Envelope, Event, error) {
	// The payload is read in the same pass as the envelope, as the type that the
	// envelope seems to name. If it names another, the second pass is right.
	env, e, err := decodeAs(guessType(raw), raw)
	if e == nil || e.Type() != env.Type {
		env, e, err = decodeAs(env.Type, raw)
	}
	if !isTraceParent(env.TraceParent) {
		env.TraceParent = ""
	}
	switch {
	case err != nil && e == nil:
		return env, nil, fmt.Errorf("decode envelope: %w", err)
	case err != nil:
		return env, nil, fmt.Errorf("decode %s: %w", env.Type, err)
	case env.SpecVersion != SpecVersion || env.ID == uuid.Nil:
		return env, nil, errors.New("decode envelope: not a CloudEvents 1.0 event with a UUID as id")
	case e == nil:
		return env, nil, fmt.Errorf("decode %q: %w", env.Type, ErrUnknownType)
	case env.DataSchema != Schema(env.Type):
		return env, nil, fmt.Errorf("decode %s: schema %q is not known, want %q", env.Type, env.DataSchema, Schema(env.Type))
	}
	if def := registered[env.Type]; !def.from(env.Source) {
		return env, nil, fmt.Errorf("decode %s: %w: its source is %q, and %s alone sends it", env.Type, ErrForeignSource, env.Source, def.Owner)
	}
	if err := e.Validate(); err != nil {
		return env, nil, fmt.Errorf("decode %s: %w", env.Type, err)
	}
	return env, e, nil
}

// isTraceParent reports whether s has the form of a W3C trace context.
func isTraceParent(s string) bool {
	const form = "xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx"
	if len(s) != len(form) {
		return false
	}
	for i := range len(form) {
		if c := s[i]; form[i] == '-' && c != '-' || form[i] == 'x' && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// decodeAs reads an envelope with a payload of the given type, or none where the
// type is unknown.
func decodeAs(eventType string, raw []byte) (Envelope, Event, error) {
	e := newPayload(eventType)
	if e == nil {
		var env Envelope
		err := json.Unmarshal(raw, &env)
		return env, nil, err
	}
	whole := struct {
		Envelope
		Data Event `json:"data"`
	}{Data: e}
	err := json.Unmarshal(raw, &whole)
	if whole.Data == nil {
		err = errors.Join(err, errors.New("data is missing"))
	}
	return whole.Envelope, e, err
}

// guessType returns what stands after the first "type" key, which is the event
// type in all that Encode writes.
func guessType(raw []byte) string {
	_, after, _ := bytes.Cut(raw, []byte(`"type":"`))
	eventType, _, _ := bytes.Cut(after, []byte{'"'})
	return string(eventType)
}
