package caller_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	long := strings.Repeat("a", 64)
	for value, want := range map[string]caller.Caller{
		"c1":                            {ID: "c1"},
		"A.b_c-9":                       {ID: "A.b_c-9"},
		long:                            {ID: long},
		"carl; company=acme":            {ID: "carl", Company: "acme"},
		"carl;company=acme":             {ID: "carl", Company: "acme"},
		long + "; company=" + long:      {ID: long, Company: long},
		caller.Caller{ID: "x"}.String(): {ID: "x"},
		caller.Caller{ID: "x", Company: "y"}.String(): {ID: "x", Company: "y"},
	} {
		got, known, err := caller.Parse(http.Header{caller.Header: {value}})
		if err != nil || !known || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v, %v, want %+v", value, got, known, err, want)
		}
	}
	if got, known, err := caller.Parse(http.Header{"Accept": {"*/*"}}); known || err != nil {
		t.Errorf("without the header: %+v, %v, %v", got, known, err)
	}
}

// serve serves who the caller is, on a real connection.
func serve(t *testing.T, required bool) (addr string, g *caller.Guard) {
	t.Helper()
	g = &caller.Guard{Required: required}
	server := httptest.NewServer(g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		c, known := caller.From(r.Context())
		fmt.Fprintf(w, "%v %s", known, c)
	})))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), g
}

// send sends header lines as they are, as no client of a library would.
func send(t *testing.T, addr, lines string) (int, string) {
	t.Helper()
	return sendTo(t, addr, "/", lines)
}

func sendTo(t *testing.T, addr, path, lines string) (int, string) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: x\r\n"+lines); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

const none = "Content-Length: 0\r\n\r\n"

func TestSpoofing(t *testing.T) {
	long := strings.Repeat("a", 65)
	for name, c := range map[string]struct {
		lines  string
		status int
		body   string // of what is let in
	}{
		"the edge's":                  {"Quadrille-Caller: c1\r\n" + none, 200, "true c1"},
		"the edge's, of a company":    {"Quadrille-Caller: c1; company=acme\r\n" + none, 200, "true c1; company=acme"},
		"in small letters":            {"quadrille-caller: c1\r\n" + none, 200, "true c1"},
		"nothing":                     {none, 401, ""},
		"twice":                       {"Quadrille-Caller: c1\r\nQuadrille-Caller: c2\r\n" + none, 400, ""},
		"twice the same":              {"Quadrille-Caller: c1\r\nQuadrille-Caller: c1\r\n" + none, 400, ""},
		"twice, in other letters":     {"Quadrille-Caller: c1\r\nQUADRILLE-CALLER: c2\r\n" + none, 400, ""},
		"joined by a comma":           {"Quadrille-Caller: c1, c2\r\n" + none, 400, ""},
		"joined by a semicolon":       {"Quadrille-Caller: c1; c2\r\n" + none, 400, ""},
		"two companies":               {"Quadrille-Caller: c1; company=a; company=b\r\n" + none, 400, ""},
		"a company of nobody":         {"Quadrille-Caller: ; company=a\r\n" + none, 400, ""},
		"no company":                  {"Quadrille-Caller: c1; company=\r\n" + none, 400, ""},
		"an unknown parameter":        {"Quadrille-Caller: c1; role=admin\r\n" + none, 400, ""},
		"empty":                       {"Quadrille-Caller:\r\n" + none, 400, ""},
		"blank":                       {"Quadrille-Caller:  \r\n" + none, 400, ""},
		"in quotes":                   {"Quadrille-Caller: \"c1\"\r\n" + none, 400, ""},
		"with a space":                {"Quadrille-Caller: c 1\r\n" + none, 400, ""},
		"a path":                      {"Quadrille-Caller: ../c1\r\n" + none, 400, ""},
		"too long":                    {"Quadrille-Caller: " + long + "\r\n" + none, 400, ""},
		"very long":                   {"Quadrille-Caller: " + strings.Repeat(long, 100) + "\r\n" + none, 400, ""},
		"not ASCII":                   {"Quadrille-Caller: c\u00e91\r\n" + none, 400, ""},
		"letters that look alike":     {"Quadrille-Caller: \u04411\r\n" + none, 400, ""},
		"with underscores":            {"Quadrille_Caller: c1\r\n" + none, 400, ""},
		"beside one with underscores": {"Quadrille-Caller: c1\r\nquadrille_caller: c2\r\n" + none, 400, ""},
		"named in Connection":         {"Quadrille-Caller: c1\r\nConnection: keep-alive, quadrille-caller\r\n" + none, 400, ""},
		"removed by Connection":       {"Connection: Quadrille-Caller\r\n" + none, 400, ""},
		"folded":                      {"Quadrille-Caller: c1\r\n c2\r\n" + none, 400, ""},
		"a space before the colon":    {"Quadrille-Caller : c1\r\n" + none, 400, ""},
		"in the trailer":              {"Transfer-Encoding: chunked\r\nTrailer: Quadrille-Caller\r\n\r\n0\r\nQuadrille-Caller: c1\r\n\r\n", 401, ""},
		"under another name":          {"X-Quadrille-Caller: c1\r\nX-Forwarded-User: c1\r\n" + none, 401, ""},
	} {
		t.Run(name, func(t *testing.T) {
			addr, g := serve(t, true)
			status, body := send(t, addr, c.lines)
			if status != c.status || status == http.StatusOK && body != c.body {
				t.Errorf("answered %d %s, want %d %s", status, body, c.status, c.body)
			}
			// What net/http itself refuses does not come to the guard.
			if refused := g.Refused(); status == http.StatusOK && refused != 0 || refused > 1 {
				t.Errorf("%d refused", refused)
			}
		})
	}
}

func TestWithoutAnEdge(t *testing.T) {
	addr, g := serve(t, false)
	for lines, want := range map[string]string{none: "false ", "Quadrille-Caller: c1\r\n" + none: "true c1"} {
		if status, body := send(t, addr, lines); status != http.StatusOK || body != want {
			t.Errorf("%q answered %d %s, want %s", lines, status, body, want)
		}
	}
	if status, _ := send(t, addr, "Quadrille-Caller: c1, c2\r\n"+none); status != http.StatusBadRequest || g.Refused() != 1 {
		t.Errorf("a malformed caller: %d, %d refused", status, g.Refused())
	}
}

func TestOwnership(t *testing.T) {
	nobody := t.Context()
	person := caller.With(nobody, caller.Caller{ID: "carl"})
	buyer := caller.With(nobody, caller.Caller{ID: "carl", Company: "acme"})
	for _, c := range []struct {
		what      string
		got, want bool
	}{
		{"nobody is anybody", caller.Is(nobody, "dora"), true},
		{"nobody acts for any company", caller.ActsFor(nobody, "acme"), true},
		{"carl is carl", caller.Is(person, "carl"), true},
		{"carl is dora", caller.Is(person, "dora"), false},
		{"carl is nobody", caller.Is(person, ""), false},
		{"carl is Carl", caller.Is(person, "Carl"), false},
		{"a person acts for a company", caller.ActsFor(person, "acme"), false},
		{"a person acts for no company", caller.ActsFor(person, ""), false},
		{"a buyer acts for his company", caller.ActsFor(buyer, "acme"), true},
		{"a buyer acts for another", caller.ActsFor(buyer, "globex"), false},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v", c.what, c.got)
		}
	}
	for _, err := range []error{caller.CheckIs(person, "customer_id", "dora"), caller.CheckActsFor(person, "company_id", "acme")} {
		if f := fault.Of(err); rest.Status(f.Kind) != http.StatusForbidden || f.Code != "not_the_caller" || f.Field == "" {
			t.Errorf("error %v", err)
		}
	}
	if err := caller.CheckIs(nobody, "customer_id", "dora"); err != nil {
		t.Error(err)
	}
}
