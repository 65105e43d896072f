package command

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"quadrille.internal/quad/api"
)

func TestProductLines(t *testing.T) {
	const jsonLines = `{"id": "a"}` + "\n"
	for text, want := range map[string]string{
		jsonLines: jsonLines,
		"InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n1,85123A,HEART,6,2010-12-01 08:26:00,2.55,1,UK\n": `{"id":"85123A","state":"published","title":"HEART","variants":[{"sku":"85123A"}]}` + "\n",
	} {
		lines, err := productLines(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(lines); err != nil || string(got) != want {
			t.Errorf("%.20q is read as %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "a,b\n"} {
		if _, err := productLines(strings.NewReader(text)); err == nil {
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
}
