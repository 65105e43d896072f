package command

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"quadrille.internal/quad/api"
	"quadrille.internal/quad/installation"
)

func TestProductLines(t *testing.T) {
	const jsonLines = `{"id": "a"}` + "\n"
	for text, want := range map[string]string{
		jsonLines: jsonLines,
		"InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n1,85123A,HEART,6,2010-12-01 08:26:00,2.55,1,UK\n": `{"id":"85123A","state":"published","title":"HEART","variants":[{"sku":"85123A"}]}` + "\n",
	} {
		lines, _, err := productLines(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(lines); err != nil || string(got) != want {
			t.Errorf("%.20q is read as %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "a,b\n"} {
		if _, _, err := productLines(strings.NewReader(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// Lines go in parts; problems keep the numbers that the lines have in the file.
func TestImportLinesInParts(t *testing.T) {
	var parts []int
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Content-Type") != "application/x-ndjson" || r.Header.Get("Authorization") != "Bearer token" {
			t.Errorf("sent with %v, %v", r.Header, err)
		}
		n := bytes.Count(body, []byte("\n"))
		parts = append(parts, n)
		fmt.Fprintf(w, `{"lines": %d, "created": %d, "refused": 1, "problems": [{"line": %[1]d, "code": "x", "message": "m"}]}`, n, n-1)
	}))
	defer srv.Close()
	admin := api.NewAdmin(api.Access{URL: srv.URL, Token: "token"})
	defer admin.Close()
	all, err := importLines(t.Context(), admin, strings.NewReader(strings.Repeat("{}\n", importAtOnce+5)))
	if err != nil || len(parts) != 2 || parts[1] != 5 {
		t.Fatalf("sent %v, %v", parts, err)
	}
	if all.Lines != importAtOnce+5 || all.Created != importAtOnce+3 || all.Refused != 2 || all.Problems[1].Line != importAtOnce+5 {
		t.Errorf("added up: %+v", all)
	}
	// A line that is too large is named as the file has it, and those before it are sent.
	parts = nil
	all, err = importLines(t.Context(), admin, strings.NewReader(strings.Repeat("{}\n", importAtOnce+3)+strings.Repeat("x", maxLine)+"\n"))
	if want := fmt.Sprintf("line %d is larger", importAtOnce+4); err == nil || !strings.Contains(err.Error(), want) || len(parts) != 2 || all.Lines != importAtOnce+3 {
		t.Errorf("sent %v, added up %d, %v, want that %s", parts, all.Lines, err, want)
	}
}

// What a sales file holds and its import leaves out is counted, by reason, with the numbers that
// the lines have in the file; so is what the service refuses. It alone decides the exit code.
func TestCatalogImportAccountsForEachLine(t *testing.T) {
	const file = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n" +
		"1,POST,POSTAGE,1,2010-12-01 08:26:00,18.00,1,UK\n" +
		"C2,10001,TEA TOWEL,-1,2010-12-01 08:26:00,2.55,1,UK\n" +
		"3,10002,,5,2010-12-01 08:26:00,1.00,,UK\n" +
		"4,10003,TOO FEW\n" +
		"5,10004,\"BROKEN,1,2010-12-01 08:26:00,1.00,,UK\n" +
		"6,10005,LAMP,1,2010-12-01 08:26:00,1.00,,UK\n" +
		"7,10005,LAMP,one,2010-12-01 08:26:00,1.00,,UK\n"
	const latin1 = "8,09999,CAF\xc9 SIGN,1,2010-12-01 08:26:00,1.00,,UK\n"
	for name, test := range map[string]struct {
		file    string
		refused bool
		people  string // what they read first
		program string
	}{
		"left out": {
			file, false, "7 lines. Products: 1 created, 0 changed, 0 unchanged, 0 refused",
			`{"lines": 7, "created": 1, "changed": 0, "unchanged": 0, "refused": 0, "problems": [], `,
		},
		"left out and refused": {
			file + latin1, true, "8 lines. Products: 1 created, 0 changed, 0 unchanged, 1 refused\n  line 9: title It holds a replaced character.",
			`{"lines": 8, "created": 1, "changed": 0, "unchanged": 0, "refused": 1,
				"problems": [{"line": 9, "code": "bad_text", "field": "title", "message": "It holds a replaced character."}], `,
		},
	} {
		t.Run(name, func(t *testing.T) {
			people, err := catalogImport(t, test.file)
			if _, unwell := errors.AsType[Unwell](err); unwell != test.refused || err != nil && !unwell {
				t.Errorf("ends with %v", err)
			}
			for _, want := range []string{
				test.people,
				"6 lines are left out, and with them 3 stock codes that no other line describes",
				"unreadable 3 5, 6, 8 3 fields, the header has 8", "cancellation 1 3", "charge 1 2", "no description 1 4",
			} {
				if !strings.Contains(words(people), words(want)) {
					t.Errorf("people read\n%s\nwithout %q", people, want)
				}
			}
			program, _ := catalogImport(t, test.file, "--json")
			var got, want any
			if err := errors.Join(json.Unmarshal([]byte(program), &got), json.Unmarshal([]byte(test.program+`
				"left_out": {"lines": 6, "codes": 3, "reasons": [
					{"reason": "unreadable", "lines": 3, "first": [
						{"line": 5, "detail": "3 fields, the header has 8"},
						{"line": 6, "detail": "extraneous or missing \" in quoted-field"},
						{"line": 8, "detail": "\"one\" is no quantity"}]},
					{"reason": "cancellation", "lines": 1, "first": [{"line": 3}]},
					{"reason": "charge", "lines": 1, "first": [{"line": 2}]},
					{"reason": "no description", "lines": 1, "first": [{"line": 4}]}]}}`), &want)); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("programs read\n%s\n%v", program, err)
			}
		})
	}
}

func words(text string) string { return strings.Join(strings.Fields(text), " ") }

// catalogImport runs quad catalog import of a file before an admin port that refuses titles as
// catalog does, and returns what it prints.
func catalogImport(t *testing.T, file string, flags ...string) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := api.Imported{Problems: []api.ImportProblem{}}
		for lines := bufio.NewScanner(r.Body); lines.Scan(); {
			if answer.Lines++; strings.ContainsRune(lines.Text(), '\uFFFD') || strings.Contains(lines.Text(), `\ufffd`) {
				answer.Refused++
				answer.Problems = append(answer.Problems, api.ImportProblem{Line: answer.Lines, Code: "bad_text", Field: "title", Message: "It holds a replaced character."})
			} else {
				answer.Created++
			}
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	defer srv.Close()
	t.Setenv("QUADRILLE_CONFIG", filepath.Join(t.TempDir(), "contexts.yaml"))
	root, _ := New(Options{Local: func() (installation.Context, error) {
		return installation.Context{Services: map[string]installation.Service{"catalog": {Admin: srv.URL, AdminToken: installation.Secret{Value: "token"}}}}, nil
	}})
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs(append([]string{"catalog", "import", path}, flags...))
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}
