package rest_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"net/http/httptest"
	"strings"
	"testing"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
)

type amounts struct {
	N     int64             `json:"n"`
	Small int8              `json:"small"`
	U     uint32            `json:"u"`
	F     float64           `json:"f"`
	Text  string            `json:"text"`
	Map   map[string]int    `json:"map"`
	Deep  []struct{ N int } `json:"deep"`
}

// JSON Schema, and so our API, takes any number without a fraction for an integer.
func TestIntegersInEveryNotation(t *testing.T) {
	for literal, want := range map[string]int64{
		"963289": 963289, "963289.0": 963289, "963289.000": 963289, "1e3": 1000, "1E+3": 1000, "1.5e1": 15, "-2.50e2": -250,
		"100e-2": 1, "-0.0": 0, "0e999999999": 0, "0.000e-5": 0, "0.001e3": 1, "12.340e2": 1234,
		"9007199254740993.0":    9007199254740993, // a float64 holds its neighbours only
		"9223372036854775807.0": math.MaxInt64, "-9223372036854775808.0": math.MinInt64, "9.223372036854775807e18": math.MaxInt64,
	} {
		got := amounts{}
		if _, err := rest.Decode(httptest.NewRecorder(), post(`{"n":`+literal+`}`, "application/json"), &got); err != nil || got.N != want {
			t.Errorf("%s is %d, %v, want %d", literal, got.N, err, want)
		}
	}
	var got amounts
	body := `{ "text":"1.0 \" 2e1 \\", "f":1.0, "small":1.0, "n":-1e1 ,"u":4.0e0, "map":{"1.0":3.0},"deep":[{"n":1.0},{"n":2e0}] }`
	raw, err := rest.Decode(httptest.NewRecorder(), post(body, "application/json"), &got)
	if err != nil || string(raw) != body {
		t.Fatalf("returned %s, %v", raw, err)
	}
	if s := fmt.Sprintf("%+v", got); s != `{N:-10 Small:1 U:4 F:1 Text:1.0 " 2e1 \ Map:map[1.0:3] Deep:[{N:1} {N:2}]}` {
		t.Errorf("decoded %s", s)
	}
}

func TestWhatIsNoInteger(t *testing.T) {
	for _, c := range []struct{ body, field string }{
		{`{"n":1.5}`, "n"}, {`{"n":1e-1}`, "n"}, {`{"n":1e400}`, "n"}, {`{"n":1e-400}`, "n"}, {`{"n":1e99999999999999999999}`, "n"},
		{`{"n":9223372036854775808.0}`, "n"}, {`{"small":1e3}`, "small"}, {`{"u":-1.0}`, "u"},
		{`{"n":"1.0"}`, "n"}, {`{"text":1.0}`, "text"}, {`{"n":1.0,"deep":[{"n":2.5}]}`, "deep.N"},
		{`{"n":` + strings.Repeat("9", 30) + `.0}`, "n"},
	} {
		_, err := rest.Decode(httptest.NewRecorder(), post(c.body, "application/json"), new(amounts))
		if f := fault.Of(err); f.Kind != fault.Invalid || f.Code != "wrong_type" || !strings.EqualFold(f.Field, c.field) {
			t.Errorf("%.60s: %+v, want wrong_type of %s", c.body, f, c.field)
		}
	}
	for body, code := range map[string]string{
		`{"n":1.0,"x":1}`: "unknown_field", `{"n":1.0}{}`: "body_malformed", `{"n":1.}`: "body_malformed", `{"n":01.0}`: "body_malformed",
		`{"n":1.0e}`: "body_malformed", `{"n":.5}`: "body_malformed", `{"n":1.0,"n":2.0`: "body_malformed",
	} {
		_, err := rest.Decode(httptest.NewRecorder(), post(body, "application/json"), new(amounts))
		if f := fault.Of(err); f.Code != code {
			t.Errorf("%s: %+v, want %s", body, f, code)
		}
	}
	_, err := rest.Decode(httptest.NewRecorder(), post(`{"n":1.5}`, "application/json"), new(amounts))
	if f := fault.Of(err); f.Message != "A JSON number 1.5 does not fit here; want a whole number from -9223372036854775808 to 9223372036854775807." {
		t.Errorf("message %q", f.Message)
	}
}

func FuzzDecodeIntegers(f *testing.F) {
	for _, s := range []string{"1", "1.0", "1e3", "-0.0e-0", "9007199254740993.0", "1.5", "1e400", "0.1e1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, literal string) {
		want, ok := exact(literal)
		var got amounts
		_, err := rest.Decode(httptest.NewRecorder(), post(`{"n":`+literal+`}`, "application/json"), &got)
		if ok && (err != nil || got.N != want) {
			t.Errorf("%s is %d, %v, want %d", literal, got.N, err, want)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	line := `{"sku":"SKU-1234","price":{"amount":255}},`
	body := `{"customer":"c","lines":[` + strings.Repeat(line, 99) + line[:len(line)-1] + `]}`
	for name, body := range map[string]string{"plain": body, "fraction": strings.Replace(body, "255", "255.0", 1)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				var o order
				if _, err := rest.Decode(httptest.NewRecorder(), post(body, "application/json"), &o); err != nil && name == "plain" {
					b.Fatal(err)
				}
			}
		})
	}
}

// exact is what a literal is worth where it is an integer, by way of big.Rat.
func exact(literal string) (int64, bool) {
	if len(literal) > 40 || !json.Valid([]byte(literal)) || !strings.ContainsAny(literal[:1], "-0123456789") {
		return 0, false
	}
	if i := strings.IndexAny(literal, "eE"); i >= 0 && len(literal)-i > 5 {
		return 0, false // too long to compute, and tested above
	}
	r, ok := new(big.Rat).SetString(literal)
	if !ok || !r.IsInt() || !r.Num().IsInt64() {
		return 0, false
	}
	return r.Num().Int64(), true
}
