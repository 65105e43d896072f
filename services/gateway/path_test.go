package gateway

import (
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"
)

var tricks = []string{
	"//v1/orders", "/v1//orders", "/v1/orders//", "/v1/./orders", "/v1/../orders", "/v1/carts/../orders", "/..", "/.", "/v1/orders/..",
	"/v1/%2e%2e/orders", "/v1/%2E%2e/orders", "/v1/.%2e/orders", "/v1/%2e/orders", "/v1%2forders", "/v1/carts%2F..%2forders", "/v1/orders%5c..",
	"/v1/orders;a=b", "/v1/orders%3b", "/v1/orders;/../carts", "/v1/orders%00", "/v1/orders%0d%0aX:%20y", "/v1/orders%252e%252e", "/v1/orders%",
	"/v1/orders%2", "/v1/orders%zz", `/v1/orders\..\carts`, "/v1/orders#x", "http://other.example/v1/orders", "*", "v1/orders", "",
	"/v1/%6frders", "/v1/orders%2dold", "/v1/orders%5Fold", "/v1/orders%7Eold", "/v1/orders/%c0%ae%c0%ae/carts", "/v1/orders/%c0%af", "/v1/orders/%ff", "/v1/orders/\xc0\xae",
}

// Paths that two readers may understand differently are refused, before a service is asked.
func TestTwoFacedPathsAreRefused(t *testing.T) {
	s := open(t, nil)
	asked := make(chan string, 100)
	for _, name := range []string{"order", "cart"} {
		s.service(name, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.RequestURI }))
	}
	for _, trick := range tricks {
		if plainPath(trick) {
			t.Errorf("%q is taken for plain", trick)
		}
	}
	for _, trick := range append(tricks, "/v1/orders?a=b;c=d", "/v1/orders?a=%zz") {
		if trick == "" {
			continue
		}
		if status, answer := s.get(trick); status != http.StatusBadRequest {
			t.Errorf("%q: %d %s", trick, status, answer)
		}
	}
	for _, good := range []string{"/v1/orders", "/v1/orders/a-b_c.d~e", "/v1/orders/a%20b", "/v1/orders/%C3%A4", "/v1/orders?x=..//%2e", "/v1/orders/"} {
		if status, answer := s.get(good); status != http.StatusOK {
			t.Errorf("%q: %d %s", good, status, answer)
		} else if got := <-asked; got != good {
			t.Errorf("%q comes to the service as %q", good, got)
		}
	}
	if len(asked) > 0 {
		t.Errorf("a service was asked for %q", <-asked)
	}
}

// What passes means the same raw, decoded and cleaned.
func FuzzPlainPath(f *testing.F) {
	for _, seed := range append(tricks, "/v1/orders/a%20b", "/v1/orders/") {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if !plainPath(raw) {
			return
		}
		u, err := url.ParseRequestURI(raw)
		if err != nil {
			t.Skip() // such a request does not come in
		}
		want := path.Clean(u.Path)
		if strings.HasSuffix(u.Path, "/") && want != "/" {
			want += "/"
		}
		if u.Path != want || strings.Contains(u.Path, "..") && strings.Contains("/"+u.Path+"/", "/../") {
			t.Errorf("%q is %q, cleaned %q", raw, u.Path, want)
		}
		again, err := url.PathUnescape(u.Path)
		if err == nil && again != u.Path {
			t.Errorf("%q decodes twice: %q, %q", raw, u.Path, again)
		}
	})
}

// A letter or hyphen that is encoded is the same one. A route for a part of a prefix cannot be avoided by it.
func TestARouteCannotBeAvoided(t *testing.T) {
	s := open(t, nil)
	for _, name := range []string{"order", "checkout"} {
		s.service(name, named(name))
	}
	for _, prefix := range []string{"/v1/orders/old", "/v1/orders/new-ones"} {
		if status, answer := s.put(`{"prefix": "` + prefix + `", "service": "checkout"}`); status != http.StatusOK {
			t.Fatalf("put: %d %s", status, answer)
		}
	}
	for _, path := range []string{"/v1/orders/%6fld/1", "/v1/orders/ol%64", "/v1/orders/%4Fld", "/v1/orders/new%2Dones/1"} {
		if status, answer := s.get(path); status != http.StatusBadRequest || !strings.Contains(answer, "path_malformed") {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
}
