package contract

import (
	"bytes"
	"go/ast"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"quadrille.internal/local/release"
)

// asyncAPI opens the document. Its schemas are an extension of draft 7.
func asyncAPI(t *testing.T) node {
	t.Helper()
	root, err := open("docs/asyncapi.yaml", jsonschema.Draft7)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func set(values ...string) map[string]bool {
	found := make(map[string]bool)
	for _, v := range values {
		found[v] = true
	}
	return found
}

func valuesOf(m map[string]string) map[string]bool {
	found := make(map[string]bool)
	for _, v := range m {
		found[v] = true
	}
	return found
}

// texts returns the strings of a list.
func texts(list node) map[string]bool {
	found := make(map[string]bool)
	for _, key := range list.keys() {
		found[list.child(key).text()] = true
	}
	return found
}

func TestReasonsAreDocumented(t *testing.T) {
	code := valuesOf(constants(parse(t, "events/event.go"), "Reason"))
	for name, root := range map[string]node{"asyncapi.yaml": asyncAPI(t), "openapi.yaml": load(t).root} {
		reason := root.child("components").child("schemas").child("Reason")
		same(t, name, code, texts(reason.child("properties").child("code").child("enum")))
	}
}

// Reasons of company orders are those of b2b, and those it shares with the others.
func TestB2BReasonsAreDocumented(t *testing.T) {
	source := parse(t, "workflows/b2b/*.go")
	code := valuesOf(constants(source, "reason"))
	shared := constants(parse(t, "events/event.go"), "Reason")
	inspect(source, func(e *ast.SelectorExpr) {
		if v := shared[e.Sel.Name]; v != "" && name(e.X) == "events" {
			code[v] = true
		}
	})
	reason := asyncAPI(t).child("components").child("schemas").child("B2BReason")
	same(t, "asyncapi.yaml", code, texts(reason.child("properties").child("code").child("enum")))
	code["compensation_failed"] = true // which is for operators, and no event's
	reason = load(t).root.child("components").child("schemas").child("B2BReason")
	same(t, "openapi.yaml", code, texts(reason.child("properties").child("code").child("enum")))
}

// A golden event fits the schema of its channel, and would not if any of its
// fields were missing or of another type: the schema describes all of them.
func TestAsyncAPIDescribesTheGoldenEvents(t *testing.T) {
	channels := asyncAPI(t).child("channels")
	for _, topic := range channels.keys() {
		t.Run(topic, func(t *testing.T) {
			event := golden(t, topic)
			payload := channels.child(topic).child("messages").child("event").child("payload")
			if err := payload.check(event); err != nil {
				t.Fatal(err)
			}
			spoil(event, "", func(place string) {
				if payload.check(event) == nil {
					t.Errorf("the schema allows %s", place)
				}
			})
		})
	}
}

// What events have gained within their version is described, too.
func TestAsyncAPIDescribesTheAnchoredEvents(t *testing.T) {
	channels := asyncAPI(t).child("channels")
	for _, topic := range []string{"b2b.order.approved", "b2b.order.rejected"} {
		payload := channels.child(topic).child("messages").child("event").child("payload")
		event, ok := goldenOf(t, topic, ".v1.anchored.json").(map[string]any)
		if err := payload.check(event); err != nil || !ok {
			t.Fatal(err)
		}
		data, _ := event["data"].(map[string]any)
		for _, field := range []string{"order_hash", "decisions_head"} {
			kept := data[field]
			data[field] = "not a hash"
			if kept == nil || payload.check(event) == nil {
				t.Errorf("%s: the schema allows any %s", topic, field)
			}
			data[field] = kept
		}
	}
}

func golden(t *testing.T, eventType string) any {
	t.Helper()
	if strings.HasSuffix(eventType, ".v2") {
		return goldenOf(t, eventType, ".json")
	}
	return goldenOf(t, eventType, ".v1.json")
}

func goldenOf(t *testing.T, eventType, version string) any {
	t.Helper()
	root, err := release.Root()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(root, "events", "testdata", eventType+version))
	if err != nil {
		t.Fatal(err)
	}
	event, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return event
}

// misfit returns a value of a type that nothing has in v's place.
func misfit(v any) any {
	if _, ok := v.(bool); ok {
		return 0
	}
	return true
}

// spoil calls see with one fault at a time in v: each field without its value,
// and with a value that fits nowhere.
func spoil(v any, place string, see func(place string)) {
	switch v := v.(type) {
	case map[string]any:
		for key, was := range v {
			spoil(was, place+"/"+key, see)
			v[key] = misfit(was)
			see(place + "/" + key + " to be of any type")
			delete(v, key)
			if key != "traceparent" { // the one that may be missing
				see(place + "/" + key + " to be missing")
			}
			v[key] = was
		}
	case []any:
		for _, element := range v {
			spoil(element, place+"/0", see)
		}
	}
}
