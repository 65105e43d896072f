package upgrade

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"quadrille.internal/events"
	_ "quadrille.internal/events/all"
)

// What the release before publishes, also with any of the fields missing that it may
// leave out, is read by today's code, and nothing of it is lost.
func TestTodaysCodeReadsEventsOfTheReleaseBefore(t *testing.T) {
	old := oldEvents(t)
	raws := variants(t, append(goldenFiles(t, old.source), old.samples(t)...))
	accepted := 0
	for i, answer := range old.decode(t, raws) {
		if answer.Err != "" {
			continue // it cannot have published this
		}
		accepted++
		env, e, err := events.Decode(raws[i])
		if err != nil {
			t.Errorf("%v\n\t%s", err, raws[i])
			continue
		}
		again, err := events.Encode(env.ID, env.Source, env.Time, env.TraceParent, value(e))
		if err != nil {
			t.Errorf("%v\n\t%s", err, raws[i])
			continue
		}
		if lost := missing("data", data(t, raws[i]), data(t, again)); lost != "" {
			t.Errorf("%s: today's code has lost %s\n\t%s", env.Type, lost, raws[i])
		}
	}
	if accepted < 30 {
		t.Errorf("only %d events were held against today's code", accepted)
	}
}

// What today's code publishes, also with any of the fields missing that it may leave out,
// is read by the release before, unless it does not know the topic.
func TestTheReleaseBeforeReadsTodaysEvents(t *testing.T) {
	root, _ := recorded(t)
	old := oldEvents(t)
	samples := goldenFiles(t, root)
	for _, def := range events.Definitions() {
		samples = append(samples, encode(t, goldenEnvelope(def), def.Sample))
	}
	var published [][]byte
	for _, raw := range variants(t, samples) {
		if env, e, err := events.Decode(raw); err == nil {
			published = append(published, encode(t, env, value(e)))
		}
	}
	known := 0
	for i, answer := range old.decode(t, published) {
		if !answer.Unknown {
			known++
		}
		if answer.Err != "" && !answer.Unknown {
			t.Errorf("the release before says: %s\n\t%s", answer.Err, published[i])
		}
	}
	if known < 30 {
		t.Errorf("the release before knows only %d events", known)
	}
}

func goldenEnvelope(def events.Definition) events.Envelope {
	return events.Envelope{ID: [16]byte{6: 0x70, 8: 0x80, 15: 1}, Source: def.Owner}
}

func encode(t *testing.T, env events.Envelope, e events.Event) []byte {
	t.Helper()
	raw, err := events.Encode(env.ID, env.Source, env.Time, env.TraceParent, e)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// value is what a decoded event, which is a pointer, points to.
func value(e events.Event) events.Event {
	v, _ := reflect.ValueOf(e).Elem().Interface().(events.Event)
	return v
}

// oldCode is the events module of the release before, as a program.
type oldCode struct{ source, program string }

func oldEvents(t *testing.T) oldCode {
	t.Helper()
	_, previous := recorded(t)
	source, err := previous.Source(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("testdata", "events", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	// It lies in the release's module by way of an overlay, so that the release's files
	// stay as they are.
	dir := t.TempDir()
	main, overlay := filepath.Join(dir, "main.go"), filepath.Join(dir, "overlay.json")
	place := filepath.Join(source, "events", "compared", "main.go")
	mapping, err := json.Marshal(map[string]any{"Replace": map[string]string{place: main}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{main: text, overlay: mapping} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "events")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", program, "./compared")
	cmd.Dir = filepath.Join(source, "events")
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build testdata/events in release %s: %v\n%s", previous.Name, err, out)
	}
	return oldCode{source, program}
}

func (o oldCode) run(t *testing.T, in []byte, args ...string) [][]byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), o.program, args...)
	cmd.Stdin = bytes.NewReader(in)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", o.program, err, &errs)
	}
	return bytes.Split(bytes.TrimSpace(out), []byte{'\n'})
}

func (o oldCode) samples(t *testing.T) [][]byte {
	t.Helper()
	return o.run(t, nil, "samples")
}

type answer struct {
	Unknown bool
	Err     string
}

func (o oldCode) decode(t *testing.T, raws [][]byte) []answer {
	t.Helper()
	lines := o.run(t, bytes.Join(raws, []byte{'\n'}))
	if len(lines) != len(raws) {
		t.Fatalf("%d answers about %d events", len(lines), len(raws))
	}
	answers := make([]answer, len(lines))
	for i, l := range lines {
		if err := json.Unmarshal(l, &answers[i]); err != nil {
			t.Fatal(err)
		}
	}
	return answers
}

func goldenFiles(t *testing.T, source string) (raws [][]byte) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(source, "events", "testdata", "*.json"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d golden files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := json.Compact(&b, text); err != nil {
			t.Fatal(err)
		}
		raws = append(raws, b.Bytes())
	}
	return raws
}

// variants returns the events, and each of them without one of its fields at a time.
func variants(t *testing.T, raws [][]byte) (all [][]byte) {
	t.Helper()
	for _, raw := range raws {
		all = append(all, raw)
		var event map[string]any
		if err := readJSON(raw, &event); err != nil {
			t.Fatal(err)
		}
		without(event["data"], func() {
			text, err := json.Marshal(event)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, text)
		})
	}
	return all
}

// without calls see with each field below v taken out, one at a time.
func without(v any, see func()) {
	switch v := v.(type) {
	case []any:
		for _, element := range v {
			without(element, see)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			field := v[name]
			without(field, see)
			delete(v, name)
			see()
			v[name] = field
		}
	}
}

func data(t *testing.T, raw []byte) any {
	t.Helper()
	var event map[string]any
	if err := readJSON(raw, &event); err != nil {
		t.Fatal(err)
	}
	return event["data"]
}

// readJSON keeps numbers as they are written.
func readJSON(raw []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return d.Decode(to)
}

// missing names what of was is not in is, or "".
func missing(path string, was, is any) string {
	switch was := was.(type) {
	case map[string]any:
		is, _ := is.(map[string]any)
		for name, field := range was {
			if lost := missing(path+"."+name, field, is[name]); lost != "" {
				return lost
			}
		}
		return ""
	case []any:
		is, _ := is.([]any)
		if len(is) != len(was) {
			return path
		}
		for i, element := range was {
			if lost := missing(path+"."+strconv.Itoa(i), element, is[i]); lost != "" {
				return lost
			}
		}
		return ""
	}
	if !reflect.DeepEqual(was, is) {
		return path
	}
	return ""
}
