package events_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/b2b"
	"quadrille.internal/events/checkout"
	"quadrille.internal/events/payment"
)

var update = flag.Bool("update", false, "write the golden files of events that have none; never changes one that exists")

const goldenTrace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

var (
	goldenID   = uuid.MustParse("01977420-8b3c-7d6e-9f00-5a1b2c3d4e5f")
	goldenTime = time.Date(2026, 6, 15, 9, 30, 0, 123456000, time.UTC)
)

func goldenFile(eventType string) string {
	if !strings.HasSuffix(eventType, ".v2") {
		eventType += ".v1"
	}
	return filepath.Join("testdata", eventType+".json")
}

// A golden file is the contract with those who integrate through topics: a
// change of its meaning needs a new version, not a new golden file.
func TestGoldenEvents(t *testing.T) {
	for _, def := range events.Definitions() {
		e := def.Sample
		t.Run(e.Type(), func(t *testing.T) {
			encoded, err := events.Encode(goldenID, owner(e.Type()), goldenTime, goldenTrace, e)
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
	anchor := b2b.Anchor{
		OrderHash:     "order.v1:066b10b8c2c25429230a358b27a892743f571aeec7f70ddfc64e537072fa5d7c",
		DecisionsHead: "91eb9801ae1c1a427f1851601882f45990d68ecf914f1d82c8f1e38bb7da24e8",
	}
	for _, def := range b2b.Events {
		e := def.Sample
		switch sample := e.(type) {
		case b2b.OrderApproved:
			sample.Anchor = anchor
			e = sample
		case b2b.OrderRejected:
			sample.Anchor = anchor
			e = sample
		default:
			continue
		}
		encoded, err := events.Encode(goldenID, owner(e.Type()), goldenTime, goldenTrace, e)
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

// An order says where it goes and which cart it was, or does not.
func TestGoldenOrderWithCartAndAddress(t *testing.T) {
	e := sample[checkout.OrderCreatedV2]()
	e.CartID, e.AddressID = "01977420-0000-7000-8000-00000000ca27", uuid.MustParse("01977420-0000-7000-8000-00000000add4")
	encoded, err := events.Encode(goldenID, "checkout", goldenTime, goldenTrace, e)
	if err != nil {
		t.Fatal(err)
	}
	golden := readGoldenFile(t, filepath.Join("testdata", e.Type()+".delivered.json"), encoded)
	if got, want := compact(t, encoded), compact(t, golden); got != want {
		t.Errorf("encoded event differs from the contract\n got %s\nwant %s", got, want)
	}
	if _, back, err := events.Decode(golden); err != nil || !reflect.DeepEqual(back, &e) {
		t.Errorf("decoded %+v, %v, want %+v", back, err, e)
	}
}

// Who reads orders in the terms of version 2 reads those of version 1 too.
func TestBothVersionsOfAnOrderAreRead(t *testing.T) {
	for _, eventType := range []string{checkout.TypeOrderCreated, checkout.TypeOrderCreatedV2} {
		_, e, err := events.Decode([]byte(golden(t, eventType)))
		if err != nil {
			t.Fatal(err)
		}
		c := checkout.Created(e)
		if c == nil || c.OrderID == uuid.Nil || c.CustomerID != "customer-17850" || len(c.Lines) != 2 || c.PaymentToken == "" {
			t.Fatalf("%s is read as %+v", eventType, c)
		}
		if err := events.ValidateOrder(c.Lines, c.Extras, c.Total); err != nil {
			t.Errorf("%s: %v", eventType, err)
		}
	}
	if c := checkout.Created(&payment.Completed{}); c != nil {
		t.Errorf("a payment is read as %+v", c)
	}
}

func checkEnvelope(t *testing.T, got events.Envelope, e events.Event) {
	t.Helper()
	want := events.Envelope{
		SpecVersion: events.SpecVersion, ID: goldenID, Source: owner(e.Type()), Type: e.Type(),
		Subject: e.Subject(), Time: goldenTime, DataContentType: "application/json",
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

// A topic that nobody publishes any more keeps its contract until it is deleted.
func TestEveryGoldenFileIsOfARegisteredType(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d golden files, %v", len(files), err)
	}
	types := make(map[string]bool)
	for _, def := range events.Definitions() {
		types[def.Type] = true
	}
	for _, file := range files {
		name := filepath.Base(file)
		eventType, _, first := strings.Cut(name, ".v1.")
		if !first {
			eventType, _, _ = strings.Cut(name, ".v2.")
			eventType += ".v2"
		}
		if !types[eventType] {
			t.Errorf("%s: %s is not registered", file, eventType)
		}
	}
}

// A program that reads any topic must know the types of every owner.
func TestAllHasEveryOwner(t *testing.T) {
	owners := make(map[string]bool)
	for _, def := range events.Definitions() {
		owners[def.Owner] = true
	}
	files, err := filepath.Glob(filepath.Join("*", "register.go"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%d packages, %v", len(files), err)
	}
	for _, file := range files {
		if owner := filepath.Dir(file); !owners[owner] {
			t.Errorf("package all does not import %s", owner)
		}
	}
}

func TestRegisterRefuses(t *testing.T) {
	for _, c := range []struct {
		name, owner string
		event       events.Event
	}{
		{"another's topic", "order", payment.Completed{}},
		{"a topic twice", "payment", payment.Completed{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it was registered")
				}
			}()
			events.Register(c.owner, events.KindOrder, c.event)
		})
	}
}

func compact(t *testing.T, raw []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func owner(eventType string) string {
	def, _ := events.Lookup(eventType)
	return def.Owner
}
