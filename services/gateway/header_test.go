package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/token"
	"quadrille.internal/platform/tokentest"
)

// spellings of a header by which somebody might pass for another.
func spellings(name string) []string {
	return []string{
		name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "-", "_"),
		strings.ToLower(strings.ReplaceAll(name, "-", "_")), strings.Replace(strings.ToUpper(name), "-", "_", 1),
	}
}

var identityHeaders = []string{
	caller.Header, "Quadrille-Address", "X-User", "X-User-Id", "X-Auth-Request-User", "X-Authenticated-User", "X-Remote-User", "Remote-User",
	"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-User", "X-Forwarded-Prefix", "Forwarded", "X-Real-Ip", "True-Client-Ip", "Cf-Connecting-Ip",
	"X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override", "Dapr-App-Id", "Dapr-Api-Token", "X-Idempotency-Key", "X-Jwt-Assertion",
}

// Whatever a client calls itself, and however it spells that, services do not get it; alone,
// twice, and beside a token.
func TestForgedIdentityHeadersDoNotPass(t *testing.T) {
	s := open(t, unlimited)
	s.service("order", http.HandlerFunc(echo))
	bearer := "Authorization: Bearer " + s.token("carl")
	for _, name := range identityHeaders {
		for _, spelt := range spellings(name) {
			for what, headers := range map[string][]string{
				"alone": {spelt + ": forged-42"}, "twice": {spelt + ": forged-42", name + ": forged-42"},
				"beside a token": {bearer, spelt + ": forged-42"},
			} {
				status, answer := s.get("/v1/orders", headers...)
				if status != http.StatusOK || strings.Contains(answer, "forged-42") {
					t.Errorf("%s %s: %d, the service gets\n%s", spelt, what, status, answer)
				}
			}
		}
	}
}

// What the gateway tells a service, Connection cannot take away again (golang/go#50580).
func TestConnectionRemovesNothing(t *testing.T) {
	s := open(t, nil)
	s.service("order", http.HandlerFunc(echo))
	bearer := "Authorization: Bearer " + s.token("carl")
	for _, connection := range []string{
		"Authorization", "authorization", "close, X-Forwarded-For", "keep-alive,X-Request-Id", "Idempotency-Key", "Quadrille-Caller", "X_Forwarded_For",
	} {
		status, answer := s.raw("GET /v1/orders HTTP/1.1\r\nHost: shop.example\r\n" + bearer + "\r\nConnection: " + connection + "\r\n\r\n")
		if status != http.StatusBadRequest || !strings.Contains(answer, "connection_malformed") {
			t.Errorf("Connection: %s: %d %s", connection, status, answer)
		}
	}
	for _, connection := range []string{"close", "keep-alive, TE", "Upgrade, HTTP2-Settings\r\nUpgrade: h2c"} {
		status, answer := s.raw("GET /v1/orders HTTP/1.1\r\nHost: shop.example\r\n" + bearer + "\r\nConnection: " + connection + "\r\n\r\n")
		for _, want := range []string{bearer + "\n", "X-Forwarded-For: 127.0.0.1\n", "X-Forwarded-Host: shop.example\n", "X-Request-Id: "} {
			if status != http.StatusOK || !strings.Contains(answer, want) || strings.Contains(answer, "Upgrade") {
				t.Errorf("Connection: %q: %d, the service gets\n%s, want %q", connection, status, answer, want)
			}
		}
	}
}

func TestOneAuthorization(t *testing.T) {
	s := open(t, nil)
	s.service("order", http.HandlerFunc(echo))
	good := "Authorization: Bearer " + s.token("carl")
	for what, headers := range map[string][]string{
		"two":               {good, "Authorization: Bearer " + s.token("dora")},
		"the same twice":    {good, good},
		"two in spelling":   {good, "authorization: x"},
		"with underscores":  {good, "Authori_zation: x", "AUTHORIZATION: y"},
		"an empty one more": {good, "Authorization:"},
	} {
		if status, answer := s.get("/v1/orders", headers...); status != http.StatusBadRequest || !strings.Contains(answer, "authorization_twice") {
			t.Errorf("%s: %d %s", what, status, answer)
		}
	}
	if status, answer := s.get("/v1/orders", good); status != http.StatusOK || strings.Count(answer, "Authorization: Bearer ") != 1 {
		t.Errorf("one: %d\n%s", status, answer)
	}
	if status, answer := s.get("/v1/orders"); status != http.StatusOK || strings.Contains(answer, "Authorization") {
		t.Errorf("none: %d\n%s", status, answer)
	}
}

// A token that is not right gets no further, no matter who signed it.
func TestTokensAreVerified(t *testing.T) {
	s := open(t, nil)
	asked := make(chan struct{}, 100)
	s.service("order", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{} }))
	good, carl, now := s.token("carl"), caller.Caller{ID: "carl"}, time.Now()
	stranger := tokentest.NewKey(t, "key-1")
	wrongIssuer, err := token.Sign(tokentest.NewKey(t, "key-1"), "http://other.example", carl, now)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	for what, given := range map[string]string{
		"alg none":        "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + parts[1] + ".",
		"key confusion":   "eyJhbGciOiJIUzI1NiIsImtpZCI6ImtleS0xIiwidHlwIjoiYXQrand0In0." + parts[1] + ".AAAA",
		"another key":     s.identity.SignedBy(stranger, carl, now),
		"another issuer":  wrongIssuer,
		"expired":         s.identity.TokenAt(carl, now.Add(-time.Hour)),
		"not yet issued":  s.identity.TokenAt(carl, now.Add(time.Hour)),
		"altered":         parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
		"no token at all": "x",
		"empty":           "",
		"long":            strings.Repeat("x", 8_000),
	} {
		status, answer := s.get("/v1/orders", "Authorization: Bearer "+given)
		if status != http.StatusUnauthorized || !strings.Contains(answer, `"status":401`) {
			t.Errorf("%s: %d %s", what, status, answer)
		}
	}
	if status, _ := s.get("/v1/orders", "Authorization: Basic Y2FybDpzZWNyZXQ="); status != http.StatusUnauthorized {
		t.Errorf("a password: %d", status)
	}
	if len(asked) != 0 {
		t.Errorf("the service was asked %d times", len(asked))
	}
	if status, _ := s.get("/v1/orders", "Authorization: Bearer "+good); status != http.StatusOK {
		t.Errorf("a good token: %d", status)
	}
}

// Answers have the headers that keep browsers from mischief, and a request id that the
// client chose or the gateway made; those of services are not doubled.
func TestEveryAnswerIsMarked(t *testing.T) {
	s := open(t, map[string]string{"QUADRILLE_ALLOWED_ORIGINS": "https://shop.example"})
	s.service("order", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name := range secure {
			w.Header().Set(name, "its own")
		}
		w.Header().Set("Server", "secret 1.0")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		fmt.Fprint(w, r.Header.Get("X-Request-Id"))
	}))
	for what, c := range map[string]struct {
		path, given string
		kept        bool
	}{
		"an answer of a service":  {"/v1/orders", "", false},
		"with an id":              {"/v1/orders", "request-1", true},
		"with a bad id":           {"/v1/orders", "request 1\t", false},
		"a refusal":               {"/v1/nothing", "", false},
		"a refusal for a service": {"/v1/carts/1", "", false},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", "https://shop.example")
		if c.given != "" {
			req.Header.Set("X-Request-Id", c.given)
		}
		res, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		for name := range secure {
			if len(res.Header.Values(name)) != 1 {
				t.Errorf("%s: %s is %q", what, name, res.Header.Values(name))
			}
		}
		if id := res.Header.Get("X-Request-Id"); id == "" || (id == c.given) != c.kept {
			t.Errorf("%s: the request id is %q", what, id)
		}
		if res.Header.Get("Server") != "" || res.Header.Get("Access-Control-Allow-Origin") != "https://shop.example" {
			t.Errorf("%s: %v", what, res.Header)
		}
	}
}

// Only pages of origins that are named may call, and the gateway answers their preflights.
func TestCORS(t *testing.T) {
	s := open(t, map[string]string{"QUADRILLE_ALLOWED_ORIGINS": "https://shop.example"})
	for origin, want := range map[string]string{"https://shop.example": "https://shop.example", "https://evil.example": "", "https://shop.example.evil": "", "null": ""} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, "http://"+s.addr+"/v1/orders", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		req.Header.Set("Access-Control-Request-Method", http.MethodPost)
		req.Header.Set("Access-Control-Request-Headers", "authorization,cart-token,content-type,idempotency-key,if-match,last-event-id")
		res, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s is allowed as %q", origin, got)
		}
		if got, has := res.Header["Access-Control-Allow-Credentials"]; has {
			t.Errorf("%s may send cookies: %q", origin, got)
		}
	}
	for _, bad := range []string{"*", "https://*", "https://*.shop.example", "shop.example", "https://shop.example/x"} {
		if checkOrigin(bad) == nil {
			t.Errorf("%s is taken for an origin", bad)
		}
	}
}

// What a client says after its body is no header, and no service behind may take it for one.
func TestTrailersDoNotPass(t *testing.T) {
	s := open(t, nil)
	s.service("order", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %v %v %v", body, r.Trailer, r.TransferEncoding, r.Header["Trailer"])
	}))
	status, answer := s.raw("POST /v1/orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-User\r\n\r\n2\r\n{}\r\n0\r\nX-User: forged-42\r\n\r\n")
	if status != http.StatusOK || answer != "{} map[] [] []" {
		t.Errorf("%d, the service gets %q", status, answer)
	}
}

// "Expect: 100-continue" is between a client and the gateway. Where the service meets it once more,
// the answer loses its headers.
func TestExpectIsTheGatewaysToMeet(t *testing.T) {
	s := open(t, map[string]string{"QUADRILLE_ALLOWED_ORIGINS": "https://shop.example"})
	s.service("order", http.HandlerFunc(echo))
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "POST /v1/orders HTTP/1.1\r\nHost: x\r\nOrigin: https://shop.example\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(c)
	for _, want := range []int{http.StatusContinue, http.StatusOK} {
		res, err := http.ReadResponse(answers, nil)
		if err != nil || res.StatusCode != want {
			t.Fatalf("%v, %v, want %d", res, err, want)
		}
		_ = res.Body.Close()
		if allowed := res.Header.Get("Access-Control-Allow-Origin"); want == http.StatusOK && allowed != "https://shop.example" {
			t.Errorf("the page's origin is allowed as %q", allowed)
		}
	}
}
