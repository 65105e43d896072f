package events_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
)

var update = flag.Bool("update", false, "write the golden files of events that have none; never changes one that exists")

const goldenTrace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

var (
	goldenID   = uuid.MustParse("01977420-8b3c-7d6e-9f00-5a1b2c3d4e5f")
	goldenTime = time.Date(2026, 6, 15, 9, 30, 0, 123456000, time.UTC)
)

func goldenFile(eventType string) string {
	return filepath.Join("testdata", eventType+".v1.json")
}

// A golden file is the contract with those who integrate through topics: a
// change of its meaning needs a new version, not a new golden file.
func TestGoldenEvents(t *testing.T) {
	for _, e := range samples() {
		t.Run(e.Type(), func(t *testing.T) {
			encoded, err := events.Encode(goldenID, sourceOf(e.Type()), goldenTime, goldenTrace, e)
			if err != nil {
				t.Fatal(err)
			}
			golden := readGolden(t, e.Type(), encoded)
			if got, want := compact(t, encoded), compact(t, golden); got != want {
				t.Errorf("encoded event differs from the contract\n got %s\nwant %s", got, want)
			}
			env, back, err := events.Decode(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got := reflect.ValueOf(back).Elem().Interface(); !reflect.DeepEqual(got, e) {
				t.Errorf("decoded payload\n got %+v\nwant %+v", got, e)
			}
			checkEnvelope(t, env, e)
		})
	}
}

// What a version has gained since has a golden file of its own: the one from before
// still decodes, and so shows that it may be missing.
func TestGoldenEventsWithAnAnchor(t *testing.T) {
	anchor := events.Anchor{
		OrderHash:     "order.v1:066b10b8c2c25429230a358b27a892743f571aeec7f70ddfc64e537072fa5d7c",
		DecisionsHead: "91eb9801ae1c1a427f1851601882f45990d68ecf914f1d82c8f1e38bb7da24e8",
	}
	for _, e := range b2bSamples() {
		switch sample := e.(type) {
		case events.B2BOrderApproved:
			sample.Anchor = anchor
			e = sample
		case events.B2BOrderRejected:
			sample.Anchor = anchor
			e = sample
		default:
			continue
		}
		encoded, err := events.Encode(goldenID, sourceOf(e.Type()), goldenTime, goldenTrace, e)
		if err != nil {
			t.Fatal(err)
		}
		golden := readGoldenFile(t, filepath.Join("testdata", e.Type()+".v1.anchored.json"), encoded)
		if got, want := compact(t, encoded), compact(t, golden); got != want {
			t.Errorf("encoded event differs from the contract\n got %s\nwant %s", got, want)
		}
		if _, back, err := events.Decode(golden); err != nil || !reflect.DeepEqual(reflect.ValueOf(back).Elem().Interface(), e) {
			t.Errorf("decoded %+v, %v, want %+v", back, err, e)
		}
	}
}

func checkEnvelope(t *testing.T, got events.Envelope, e events.Event) {
	t.Helper()
	want := events.Envelope{
		SpecVersion: events.SpecVersion, ID: goldenID, Source: sourceOf(e.Type()), Type: e.Type(),
		Subject: e.Order().String(), Time: goldenTime, DataContentType: "application/json",
		DataSchema: events.Schema(e.Type()), TraceParent: goldenTrace,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("decoded envelope\n got %+v\nwant %+v", got, want)
	}
}

func readGolden(t *testing.T, eventType string, encoded []byte) []byte {
	t.Helper()
	return readGoldenFile(t, goldenFile(eventType), encoded)
}

func readGoldenFile(t *testing.T, file string, encoded []byte) []byte {
	t.Helper()
	golden, err := os.ReadFile(file)
	if os.IsNotExist(err) && *update {
		var b bytes.Buffer
		if err := json.Indent(&b, encoded, "", "  "); err != nil {
			t.Fatal(err)
		}
		b.WriteByte('\n')
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	if err != nil {
		t.Fatalf("%v (a new event version gets its file with: go test -run Golden -update)", err)
	}
	return golden
}

func TestEveryTypeHasAGoldenFile(t *testing.T) {
	types := declaredTypes(t)
	if len(types) < 10 {
		t.Fatalf("found only %d Type constants in event.go", len(types))
	}
	sampled := make(map[string]bool)
	for _, e := range samples() {
		sampled[e.Type()] = true
	}
	for _, eventType := range types {
		if _, err := os.Stat(goldenFile(eventType)); err != nil {
			t.Error(err)
		}
		if !sampled[eventType] {
			t.Errorf("%s has no sample in samples_test.go", eventType)
		}
	}
}

// declaredTypes reads the Type constants from the source, so that none can be
// forgotten here.
func declaredTypes(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Type") {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		types = append(types, value)
		return false
	})
	return types
}

func compact(t *testing.T, raw []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func sourceOf(eventType string) string {
	source, _, _ := strings.Cut(eventType, ".")
	return source
}
