package events_test

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
)

func golden(t testing.TB, eventType string) string {
	t.Helper()
	b, err := os.ReadFile(goldenFile(eventType))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDecodeRefuses(t *testing.T) {
	valid := golden(t, payment.TypeCompleted)
	change := func(from, to string) string {
		if !strings.Contains(valid, from) {
			t.Fatalf("the golden file does not hold %q", from)
		}
		return strings.Replace(valid, from, to, 1)
	}
	for _, c := range []struct{ name, raw, want string }{
		{"nothing", "", "decode envelope"},
		{"rubbish", "\x00\xff not json", "decode envelope"},
		{"null", "null", "CloudEvents 1.0"},
		{"an array", "[]", "decode envelope"},
		{"another object", `{"hello":"world"}`, "CloudEvents 1.0"},
		{"another CloudEvents version", change(`"specversion": "1.0"`, `"specversion": "0.3"`), "CloudEvents 1.0"},
		{"an id that is no UUID", change(goldenID.String(), "17"), "decode envelope"},
		{"the nil id", change(goldenID.String(), uuid.Nil.String()), "UUID as id"},
		{"an unknown type", change(`"type": "payment.completed"`, `"type": "payment.dreamt"`), "unknown event type"},
		{"a later schema", change(":v1", ":v2"), `schema "urn:quadrille:payment.completed:v2" is not known`},
		{"no data", change(`"data": {`, `"payload": {`), "decode payment.completed"},
		{"a wrong type within data", change(`"amount": 1869`, `"amount": "1869"`), "decode payment.completed"},
		{"a broken rule", change(`"charge_id": "ch_1"`, `"charge_id": ""`), "charge_id is required"},
		{"a source of another service", change(`"source": "payment"`, `"source": "order"`), `its source is "order", and payment alone sends it`},
		{"no source", change(`"source": "payment"`, `"source": ""`), "payment alone sends it"},
		{"trailing data", valid + "{}", "decode envelope"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, e, err := events.Decode([]byte(c.raw))
			wantError(t, err, c.want)
			if e != nil {
				t.Errorf("an event came with the error: %+v", e)
			}
		})
	}
}

func TestDecodeReturnsWhatItCouldRead(t *testing.T) {
	raw := strings.ReplaceAll(golden(t, payment.TypeCompleted), "payment.completed", "payment.dreamt")
	env, _, err := events.Decode([]byte(raw))
	if !errors.Is(err, events.ErrUnknownType) {
		t.Fatalf("error %v, want ErrUnknownType", err)
	}
	if env.ID != goldenID || env.Type != "payment.dreamt" || env.TraceParent != goldenTrace {
		t.Errorf("envelope %+v lacks id, type or trace", env)
	}
}

func TestDecodeLeavesOutATraceThatIsNone(t *testing.T) {
	for name, trace := range map[string]string{
		"none":                "",
		"too short":           goldenTrace[1:],
		"too long":            goldenTrace + "-more",
		"upper case":          strings.ToUpper(goldenTrace),
		"of as many bytes":    strings.Repeat("\u00e9", 26) + "-01",
		"that ends a string":  `\"` + strings.Repeat("0", 51) + "-00",
		"without its hyphens": strings.ReplaceAll(goldenTrace, "-", "0"),
	} {
		t.Run(name, func(t *testing.T) {
			env, e, err := events.Decode([]byte(strings.ReplaceAll(golden(t, payment.TypeCompleted), goldenTrace, trace)))
			if err != nil || e == nil || env.TraceParent != "" {
				t.Errorf("trace %q, %v", env.TraceParent, err)
			}
		})
	}
}

// What a service published in the release before is still decoded.
func TestDecodeTakesWhatTheReleaseBeforeSent(t *testing.T) {
	raw := strings.Replace(golden(t, order.TypeConfirmed), `"source": "order"`, `"source": "b2b"`, 1)
	if env, _, err := events.Decode([]byte(raw)); err != nil || env.Source != "b2b" {
		t.Errorf("from %s: %v", env.Source, err)
	}
}

// A producer may add fields: consumers of this version pass them over.
func TestDecodeIgnoresAddedFields(t *testing.T) {
	raw := strings.Replace(golden(t, payment.TypeCompleted), `"charge_id"`, `"wallet": {"kind": "x"}, "charge_id"`, 1)
	if _, _, err := events.Decode([]byte(raw)); err != nil {
		t.Error(err)
	}
}

func TestEncodeRefusesWhatBreaksTheContract(t *testing.T) {
	_, err := events.Encode(goldenID, "payment", goldenTime, "", payment.Completed{})
	wantError(t, err, "encode payment.completed: charge_id")
}

func TestEncodeWithoutTrace(t *testing.T) {
	raw, err := events.Encode(goldenID, "checkout", goldenTime, "", created())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), "traceparent") {
		t.Error("an empty traceparent is no W3C trace context and must be left out")
	}
	if _, _, err := events.Decode(raw); err != nil {
		t.Error(err)
	}
}

// Whatever is decoded is a valid event that comes back the same when it is
// encoded and decoded again.
func FuzzDecode(f *testing.F) {
	for _, def := range events.Definitions() {
		e := def.Sample
		f.Add([]byte(golden(f, e.Type())))
	}
	f.Add([]byte(`{"specversion":"1.0"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		env, e, err := events.Decode(raw)
		if err != nil {
			return
		}
		again, err := events.Encode(env.ID, env.Source, goldenTime, "", reflect.ValueOf(e).Elem().Interface().(events.Event))
		if err != nil {
			t.Fatalf("decoded, but cannot be encoded: %v", err)
		}
		_, back, err := events.Decode(again)
		if err != nil {
			t.Fatalf("cannot be decoded again: %v", err)
		}
		if !reflect.DeepEqual(back, e) {
			t.Fatalf("came back different\n got %+v\nwant %+v", back, e)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	e := created()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := events.Encode(goldenID, "checkout", goldenTime, goldenTrace, e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	raw, err := events.Encode(goldenID, "checkout", goldenTime, goldenTrace, created())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := events.Decode(raw); err != nil {
			b.Fatal(err)
		}
	}
}
