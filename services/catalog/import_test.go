package catalog

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/servicetest"
)

const ndjson = "application/x-ndjson"

func (f *fixture) importLines(t *testing.T, lines string) (view importView) {
	t.Helper()
	a := f.client.Do(http.MethodPost, "/v1/products/import", lines, "Content-Type", ndjson)
	if err := json.Unmarshal([]byte(a.Body), &view); err != nil || a.Status != http.StatusOK {
		t.Errorf("import: %d %s", a.Status, a.Body)
	}
	return view
}

func line(id, title string) string {
	return fmt.Sprintf(`{"id": %q, "state": "published", "title": %q, "variants": [{"sku": %q}]}`+"\n", id, title, id)
}

func TestImport(t *testing.T) {
	f := newFixture(t)
	lines := line("a", "A") + "\n" + line("b", "B") + `{"id": "c"` + "\n" + line("d e", "D") + line("f", "") + line("a", "A2") +
		`{"id": "g", "state": "published", "title": "G", "variants": [{"sku": "b"}]}` + "\n" +
		`{"id": "h", "state": "published", "title": "H", "variants": [{"sku": "h"}], "categories": ["none"]}` + "\n" +
		`{"id": "i", "state": "published", "title": "I", "variants": [{"sku": "i"}], "price": 5}` + "\n" +
		`{"id": "j", "state": "retired", "title": "J", "variants": [{"sku": "j"}]}` + "\n" + strings.TrimSpace(line("k", "K"))
	got := f.importLines(t, lines)
	problems := make(map[int]string)
	for _, p := range got.Problems {
		problems[p.Line] = p.Code
		if p.Line == 10 && !strings.Contains(p.Message, `unknown field "price"`) {
			t.Errorf("line 10 is refused without a reason: %q", p.Message)
		}
	}
	want := map[int]string{4: "body_malformed", 5: "malformed", 6: "out_of_range", 8: "sku_taken", 9: "category_not_found", 10: "body_malformed", 11: "state_not_possible"}
	if got.Lines != 12 || got.Created != 3 || got.Changed != 1 || got.Unchanged != 0 || got.Refused != 7 || !reflect.DeepEqual(problems, want) {
		t.Errorf("imported %+v, want refused %v", got, want)
	}
	again := f.importLines(t, lines)
	if again.Created != 0 || again.Changed != 2 || again.Unchanged != 2 { // a is A and then A2, twice
		t.Errorf("imported again: %+v", again)
	}
	versions := make(map[int64]bool)
	for _, e := range servicetest.EmittedAbout(t, f.kit.Pool, "a") {
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var told struct{ Version int64 }
		if err := json.Unmarshal(text, &told); err != nil || versions[told.Version] {
			t.Errorf("told twice as version %d, %v", told.Version, err)
		}
		versions[told.Version] = true
	}
	if len(versions) != 4 {
		t.Errorf("%d versions were told, want 4", len(versions))
	}
}

func TestImportRefuses(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct{ contentType, body, code string }{
		{"application/json", line("a", "A"), "media_type"},
		{ndjson, line("a", "A") + strings.Repeat("x", rest.MaxBody+1), "line_too_large"},
	} {
		if a := f.client.Do(http.MethodPost, "/v1/products/import", c.body, "Content-Type", c.contentType); a.Problem().Code != c.code {
			t.Errorf("%s: %d %s", c.code, a.Status, a.Body)
		}
	}
	// What the answer says of the lines before is so.
	if a := f.public.Do(http.MethodGet, "/v1/products/a", ""); a.Status != http.StatusOK {
		t.Errorf("the line before one that is too large: %d %s", a.Status, a.Body)
	}
	if view := f.importLines(t, strings.Repeat("{}\n", 250)); view.Refused != 250 || len(view.Problems) != maxTold {
		t.Errorf("of many that are refused, %d are listed", len(view.Problems))
	}
	if view := f.importLines(t, ""); view.Lines != 0 || view.Problems == nil {
		t.Errorf("of nothing: %+v", view)
	}
}

// Batches are committed as they come; what breaks off is sent again.
func TestImportInBatches(t *testing.T) {
	f := newFixture(t)
	var lines strings.Builder
	for i := range 2*importBatch + 10 {
		lines.WriteString(line(fmt.Sprintf("p%04d", i), "Lamp"))
	}
	if got := f.importLines(t, lines.String()); got.Created != 2*importBatch+10 {
		t.Errorf("imported %+v", got)
	}
	if got := f.importLines(t, lines.String()); got.Unchanged != 2*importBatch+10 {
		t.Errorf("imported again: %+v", got)
	}
	f.checkIndex(t)
}
