package identity

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/servicetest"
)

// After ten wrong passwords an account takes none for a while, not even the right one, or
// each answer would still tell. Tries at the same time do not pass either, and an address
// without an account answers just so.
func TestLoginIsLimitedByAccount(t *testing.T) {
	s := newShop(t)
	s.signIn(address)
	for _, who := range []string{address, "nobody@example.com"} {
		var mu sync.Mutex
		statuses := map[int]int{}
		var tries sync.WaitGroup
		for range 2 * perAccount.most {
			tries.Go(func() {
				a := s.login(who, "wrong horse")
				mu.Lock()
				defer mu.Unlock()
				statuses[a.Status]++
			})
		}
		tries.Wait()
		if statuses[http.StatusUnauthorized] != perAccount.most || statuses[http.StatusTooManyRequests] != perAccount.most {
			t.Errorf("%s: statuses %v, want %d times 401 and 429", who, statuses, perAccount.most)
		}
	}
	a := s.login(address, pass)
	wait, err := strconv.Atoi(a.Header.Get("Retry-After"))
	if !isProblem(a, http.StatusTooManyRequests, "too_many_attempts") || err != nil || wait < 1 || wait > 900 {
		t.Errorf("the right password: %d %s, Retry-After %q", a.Status, a.Body, a.Header.Get("Retry-After"))
	}
	s.signIn("bob@example.com") // from the same place
	servicetest.Exec(t, s.kit.Pool, `update attempts set since = since - interval '15 min'`)
	s.signInAgain(address, pass)
}

// Who signs in gives the tries back.
func TestRightPasswordsDoNotCount(t *testing.T) {
	s := newShop(t)
	s.signIn(address)
	for range perAccount.most + 2 {
		if a := s.login(address, "wrong horse"); a.Status != http.StatusUnauthorized {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
		s.signInAgain(address, pass)
	}
}

// A try that was not made, since too many passwords are being hashed, is not held against
// anybody: during a storm of sign-ins people are told to try again, and do.
func TestTriesThatWereNotMadeDoNotCount(t *testing.T) {
	s := newShop(t)
	ann := s.signIn(address)
	s.server.hasher.queue = make(chan struct{}) // full
	for range perAccount.most + 1 {
		if a := s.login(address, pass); !isProblem(a, http.StatusServiceUnavailable, "overloaded") {
			t.Fatalf("while there is no room: %d %s", a.Status, a.Body)
		}
		if a := s.changePassword(ann, pass, newPass); !isProblem(a, http.StatusServiceUnavailable, "overloaded") {
			t.Fatalf("a new password while there is no room: %d %s", a.Status, a.Body)
		}
	}
	if n := s.count(`select coalesce(sum(count), 0) from attempts`); n != 0 {
		t.Errorf("%d tries are counted", n)
	}
	s.server.hasher.queue = make(chan struct{}, maxHashing)
	s.signInAgain(address, pass)
	if a := s.changePassword(ann, pass, newPass); a.Status != http.StatusNoContent {
		t.Errorf("a new password: %d %s", a.Status, a.Body)
	}
}

func TestLoginIsLimitedByAddress(t *testing.T) {
	s := newShop(t)
	lim := limit{"test", 3, time.Minute}
	for i := range lim.most + 1 {
		err := s.server.limits.take(t.Context(), httptest.NewRecorder(), lim, "192.0.2.1")
		if refused := err != nil; refused != (i == lim.most) || refused && fault.Of(err).Code != "too_many_attempts" {
			t.Errorf("try %d: %v", i+1, err)
		}
	}
	if err := s.server.limits.take(t.Context(), httptest.NewRecorder(), lim, "192.0.2.2"); err != nil {
		t.Errorf("another address: %v", err)
	}
	servicetest.Exec(t, s.kit.Pool, `insert into attempts (key, count, since) values ($1, $2, now())
		on conflict (key) do update set count = excluded.count`, s.attemptKey(perAddress.kind, "127.0.0.1"), perAddress.most)
	if a := s.login("somebody@example.com", pass); !isProblem(a, http.StatusTooManyRequests, "too_many_attempts") {
		t.Errorf("sign in from an address with too many attempts: %d %s", a.Status, a.Body)
	}
}

func (s *shop) attemptKey(kind, of string) []byte {
	s.t.Helper()
	sec, err := s.server.vault.open(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return sec.attempt(kind, of)
}

func TestAddressOf(t *testing.T) {
	for name, c := range map[string]struct {
		remote    string
		header    []string
		forwarded bool
		want      string
	}{
		"of the connection":                {"192.0.2.7:1234", nil, false, "192.0.2.7"},
		"a header that nobody vouches for": {"192.0.2.7:1234", []string{"203.0.113.9"}, false, "192.0.2.7"},
		"of the gateway's header":          {"10.0.0.1:1234", []string{"203.0.113.9"}, true, "203.0.113.9"},
		"what a client wrote before it":    {"10.0.0.1:1234", []string{"198.51.100.1, 203.0.113.9"}, true, "203.0.113.9"},
		"in a header of its own":           {"10.0.0.1:1234", []string{"198.51.100.1", "203.0.113.9"}, true, "203.0.113.9"},
		"no header behind a gateway":       {"10.0.0.1:1234", nil, true, "10.0.0.1"},
		"IPv6":                             {"[2001:db8:1:2:3:4:5:6]:1234", nil, false, "2001:db8:1:2::/64"},
		"IPv4 in IPv6":                     {"[::ffff:192.0.2.7]:1234", nil, false, "192.0.2.7"},
		"nonsense":                         {"10.0.0.1:1234", []string{"somewhere"}, true, "unknown"},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(""))
		r.RemoteAddr = c.remote
		for _, v := range c.header {
			r.Header.Add("X-Forwarded-For", v)
		}
		if got := addressOf(r, c.forwarded); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
