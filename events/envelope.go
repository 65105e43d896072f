package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// SpecVersion is the CloudEvents version of every envelope.
const SpecVersion = "1.0"

// Envelope is a CloudEvents 1.0 event in structured JSON mode, as it lies on
// the broker. Extension traceparent (W3C) carries the order's trace.
type Envelope struct {
	SpecVersion     string          `json:"specversion"`
	ID              uuid.UUID       `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject"`
	Time            time.Time       `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	DataSchema      string          `json:"dataschema"`
	TraceParent     string          `json:"traceparent,omitempty"`
	Data            json.RawMessage `json:"data"`
}

// Schema names the contract of a payload. A change that would break a consumer
// gets a topic of its own, and both are published for a while; a topic whose
// contract changed under its consumers would park every event at those not yet
// upgraded.
func Schema(eventType string) string { return "urn:quadrille:" + eventType + ":v1" }

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
	b = append(b, e.Order().String()...)
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

// Decode reads an envelope and its typed payload, and checks both. The envelope
// is returned, as far as it could be read, with an error too.
func Decode(raw []byte) (Envelope, Event, error) {
	var env Envelope
	if err := json.Unmarshal(raw, &env); err != nil {
		return env, nil, fmt.Errorf("decode envelope: %w", err)
	}
	if env.SpecVersion != SpecVersion || env.ID == uuid.Nil {
		return env, nil, errors.New("decode envelope: not a CloudEvents 1.0 event with a UUID as id")
	}
	e := blank(env.Type)
	if e == nil {
		return env, nil, fmt.Errorf("decode %q: %w", env.Type, ErrUnknownType)
	}
	if env.DataSchema != Schema(env.Type) {
		return env, nil, fmt.Errorf("decode %s: schema %q is not known, want %q", env.Type, env.DataSchema, Schema(env.Type))
	}
	if err := json.Unmarshal(env.Data, e); err != nil {
		return env, nil, fmt.Errorf("decode %s: %w", env.Type, err)
	}
	if err := e.Validate(); err != nil {
		return env, nil, fmt.Errorf("decode %s: %w", env.Type, err)
	}
	return env, e, nil
}
