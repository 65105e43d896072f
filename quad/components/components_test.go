package components

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const repository = "../.."

func read(t *testing.T, folder string) *Folder {
	t.Helper()
	f, err := Read(folder)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func explain(t *testing.T, f *Folder, topic string) Explanation {
	t.Helper()
	e, err := f.Explain(topic)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Every topic of both folders is explained, and one that is heard says how.
func TestEveryTopicIsExplained(t *testing.T) {
	for _, broker := range []string{"local", "kafka"} {
		f := read(t, filepath.Join(repository, "components", broker))
		list, err := f.List()
		if err != nil || len(list) < 30 {
			t.Fatalf("%s: %d topics, %v", broker, len(list), err)
		}
		for _, e := range list {
			if len(e.EmittedBy) != 1 || e.Retention == "" || e.RedeliveredAfter.To == "" || e.Batch.Most < 1 {
				t.Errorf("%s: %+v", broker, e)
			}
			if !e.DeadLetter && (e.About == "" || e.Schema == "") {
				t.Errorf("%s: %s is about nothing", broker, e.Topic)
			}
			for _, s := range e.HeardBy {
				if s.Group == "" || s.Retry.Policy == "" || (s.DeadLetter == "") != e.DeadLetter {
					t.Errorf("%s: %s is heard as %+v", broker, e.Topic, s)
				}
			}
		}
	}
}

// Each answer is read from the files: one value is changed in a copy, and that answer is
// another, and no other answer is.
func TestAnswersComeFromTheFiles(t *testing.T) {
	for _, c := range []struct{ broker, file, from, to, field, want string }{
		{"local", "pubsub.yaml", `value: "15000"`, `value: "20000"`, "redelivered_after", `{"from":"20s","to":"23s"}`},
		{"local", "pubsub.yaml", `value: "3000"`, `value: "4000"`, "redelivered_after", `{"from":"15s","to":"19s"}`},
		{"local", "pubsub.yaml", "value: 168h", "value: 24h", "retention", `"24h"`},
		{"local", "pubsub.yaml", `- name: concurrency`, `- name: concurrencyOnce`, "at_once", `10`},
		{"local", "pubsub.yaml", "catalog=inventory.stock.changed,", "catalog=", "heard_by", `[]`},
		{"kafka", "pubsub.yaml", "value: 10s", "value: 25s", "redelivered_after", `{"from":"25s","to":"25s"}`},
		{"kafka", "pubsub.yaml", "value: oldest", "value: newest", "from", `"the newest event"`},
		{"kafka", "pubsub.yaml", "value: all", "value: local", "written", `{"acks":"local","replicas":3,"in_sync":2}`},
		{"kafka", "topics/topics.properties", "num.partitions=3", "num.partitions=12", "partitions", `12`},
		{"kafka", "topics/topics.properties", "min.insync.replicas=2", "min.insync.replicas=1", "written", `{"acks":"all","replicas":3,"in_sync":1}`},
		{"kafka", "topics/topics.properties", "log.retention.hours=168", "log.retention.hours=72", "retention", `"72h"`},
		{"kafka", "resiliency.yaml", "duration: 1s", "duration: 7s", "heard_by",
			`[{"app":"catalog","group":"catalog","retry":{"policy":"constant","every":"7s","times":-1},"dead_letter":"catalog.deadletter"}]`},
		{"kafka", "resiliency.yaml", "maxRetries: -1", "maxRetries: 4", "heard_by",
			`[{"app":"catalog","group":"catalog","retry":{"policy":"constant","every":"1s","times":4},"dead_letter":"catalog.deadletter"}]`},
		{"local", "resiliency.yaml", "retry: untilHandled", "timeout: publish", "heard_by",
			`[{"app":"catalog","group":"catalog","retry":{"policy":"none","times":0},"dead_letter":"catalog.deadletter"}]`},
	} {
		t.Run(c.broker+" "+c.to, func(t *testing.T) {
			const topic = "inventory.stock.changed"
			source, copied := filepath.Join(repository, "components", c.broker), t.TempDir()
			if err := os.CopyFS(copied, os.DirFS(source)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(copied, c.file)
			text, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(text), c.from) {
				t.Fatalf("%s has no %q (%v)", c.file, c.from, err)
			}
			if err := os.WriteFile(path, []byte(strings.Replace(string(text), c.from, c.to, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			before, after := fields(t, explain(t, read(t, source), topic)), fields(t, explain(t, read(t, copied), topic))
			if after[c.field] != c.want {
				t.Errorf("%s is %s, want %s", c.field, after[c.field], c.want)
			}
			if before[c.field] == after[c.field] {
				t.Errorf("%s stays %s", c.field, after[c.field])
			}
			delete(before, c.field)
			delete(after, c.field)
			delete(before, "files")
			delete(after, "files")
			if !reflect.DeepEqual(before, after) {
				t.Errorf("more has changed: %v\n%v", before, after)
			}
		})
	}
}

// fields are those of the answer's JSON.
func fields(t *testing.T, e Explanation) map[string]string {
	t.Helper()
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]string)
	for name, value := range raw {
		byName[name] = string(value)
	}
	return byName
}

// Where neither a policy nor a dead-letter topic is left, pubsub.redis forgets an event that was
// not taken, and pubsub.kafka brings it again.
func TestWhatNobodyTakesInTheEnd(t *testing.T) {
	for broker, want := range map[string]Retry{
		"local": {Policy: "none"},
		"kafka": {Policy: "constant", Every: "1s", Times: -1},
	} {
		folder := t.TempDir()
		if err := os.CopyFS(folder, os.DirFS(filepath.Join(repository, "components", broker))); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(folder, "resiliency.yaml")); err != nil {
			t.Fatal(err)
		}
		f := read(t, folder)
		if got := explain(t, f, "order.deadletter").HeardBy[0].Retry; got != want {
			t.Errorf("%s: %+v, want %+v", broker, got, want)
		}
		if got := explain(t, f, "order.confirmed").HeardBy[0].Retry; got.Times != 0 {
			t.Errorf("%s: %+v, want what goes to the dead letters at once", broker, got)
		}
	}
}

// What a service published in the release before is told apart from what it owns.
func TestFormerEmittersAreToldApart(t *testing.T) {
	e := explain(t, read(t, filepath.Join(repository, "components", "kafka")), "order.confirmed")
	if !reflect.DeepEqual(e.EmittedBy, []string{"order"}) || !reflect.DeepEqual(e.MayEmit, []string{"b2b"}) {
		t.Errorf("emitted by %v, also allowed %v", e.EmittedBy, e.MayEmit)
	}
}

func TestFaultsAreNamed(t *testing.T) {
	if _, err := read(t, filepath.Join(repository, "components", "local")).Explain("order.lost"); !errors.Is(err, ErrNoTopic) {
		t.Errorf("an unknown topic: %v", err)
	}
	if _, err := Read(t.TempDir()); err == nil || !strings.Contains(err.Error(), "called pubsub") {
		t.Errorf("an empty folder: %v", err)
	}
	folder := t.TempDir()
	other := "kind: Component\nmetadata: {name: pubsub}\nspec: {type: pubsub.rabbitmq}\n"
	if err := os.WriteFile(filepath.Join(folder, "pubsub.yaml"), []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(folder); err == nil || !strings.Contains(err.Error(), "pubsub.rabbitmq") {
		t.Errorf("another broker: %v", err)
	}
}
