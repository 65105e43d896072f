package identity

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/platform/token"
)

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestPlanOfKeys(t *testing.T) {
	const every = 30 * 24 * time.Hour
	key := func(id, state string, created, moved time.Duration) keyRow {
		return keyRow{ID: id, State: state, CreatedAt: at.Add(-created), MovedAt: at.Add(-moved)}
	}
	for name, c := range map[string]struct {
		rows  []keyRow
		force bool
		want  move
	}{
		"none yet":                    {nil, false, move{create: []string{keyCurrent, keyNext}}},
		"nothing is due":              {[]keyRow{key("c", keyCurrent, 1, every-1), key("n", keyNext, every, every)}, false, move{}},
		"the current one is old":      {[]keyRow{key("c", keyCurrent, 1, every), key("n", keyNext, every, every)}, false, move{retire: "c", promote: "n", create: []string{keyNext}}},
		"the next one is too new":     {[]keyRow{key("c", keyCurrent, 1, 2*every), key("n", keyNext, publishTime-1, 1)}, true, move{}},
		"an operator asks":            {[]keyRow{key("c", keyCurrent, 1, 1), key("n", keyNext, publishTime, 1)}, true, move{retire: "c", promote: "n", create: []string{keyNext}}},
		"the current one was revoked": {[]keyRow{key("n", keyNext, 1, 1)}, false, move{promote: "n", create: []string{keyNext}}},
		"the next one was revoked":    {[]keyRow{key("c", keyCurrent, 1, 1)}, false, move{create: []string{keyNext}}},
		"a retiring one has tokens":   {[]keyRow{key("c", keyCurrent, 1, 1), key("n", keyNext, 1, 1), key("r", keyRetiring, 1, retireTime)}, false, move{}},
		"a retiring one has no more":  {[]keyRow{key("c", keyCurrent, 1, 1), key("n", keyNext, 1, 1), key("r", keyRetiring, 1, retireTime+1)}, false, move{drop: []string{"r"}}},
	} {
		got := plan(c.rows, at, every, c.force)
		if got.retire != c.want.retire || got.promote != c.want.promote || !slices.Equal(got.create, c.want.create) || !slices.Equal(got.drop, c.want.drop) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestReplicasRotateKeysOnce(t *testing.T) {
	s := newShop(t)
	for round := range 5 {
		later := time.Now().Add(time.Duration(round+1) * 2 * time.Hour)
		before, start := s.keyIDs(), make(chan struct{})
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				replica := &keyring{pool: s.kit.Pool, box: s.server.keys.box, log: s.kit.Log, rotateEvery: time.Hour, now: func() time.Time { return later }}
				<-start
				if _, err := replica.keep(t.Context(), false); err != nil {
					t.Error(err)
				}
			})
		}
		close(start)
		all.Wait()
		if states := s.states(); !slices.Equal(states, []string{keyCurrent, keyNext, keyRetiring}) {
			t.Fatalf("keys are %q after replicas rotated them at the same time", states)
		}
		made := slices.DeleteFunc(s.keyIDs(), func(id string) bool { return slices.Contains(before, id) })
		if len(made) != 1 {
			t.Errorf("%d keys were made, want 1", len(made))
		}
	}
}

func (s *shop) keyIDs() (ids []string) {
	s.t.Helper()
	rows, err := readKeys(s.t.Context(), s.kit.Pool)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range rows {
		ids = append(ids, r.ID)
	}
	return ids
}

// states are those of the keys, sorted: keys that were made together have no sequence.
func (s *shop) states() (states []string) {
	s.t.Helper()
	rows, err := readKeys(s.t.Context(), s.kit.Pool)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range rows {
		states = append(states, r.State)
	}
	slices.Sort(states)
	return states
}

// published serves the keys, and counts how often they are fetched.
func (s *shop) published() (*token.Remote, *token.Verifier, *atomic.Int64) {
	s.t.Helper()
	fetched := new(atomic.Int64)
	r := chi.NewRouter()
	r.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fetched.Add(1); next.ServeHTTP(w, r) })
	})
	rest.Fallbacks(r)
	s.server.openRoutes(r)
	server := httptest.NewServer(r)
	s.t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	keys := token.NewRemote(server.URL, slog.New(slog.DiscardHandler))
	return keys, token.NewVerifier(issuer, keys), fetched
}

// While keys rotate, no request fails, though the verifier fetched the keys before and
// never again.
func TestKeysRotateUnderLoad(t *testing.T) {
	s := newShop(t)
	_, verifier, fetched := s.published()
	_, newcomer, _ := s.published()
	const people, each = 4, 25
	var before []tokens
	signed := make(chan struct{}, people*each)
	rotated := make(chan struct{})
	var kids sync.Map
	var load sync.WaitGroup
	for i := range people {
		session := s.signIn(strings.Repeat("x", i+1) + "@example.com")
		first := session.AccessToken
		before = append(before, session)
		load.Go(func() {
			for n := range each {
				if n == each/2 {
					<-rotated // every one of them sees both keys
				}
				session = s.refreshed(session.RefreshToken)
				for _, raw := range []string{first, session.AccessToken} {
					if _, err := verifier.Verify(t.Context(), raw); err != nil {
						t.Errorf("after %d refreshes: %v", n, err)
					}
				}
				if a := s.Do(http.MethodGet, "/v1/accounts/me", "", bearer(session)...); a.Status != http.StatusOK {
					t.Errorf("identity itself answers %d %s", a.Status, a.Body)
				}
				kids.Store(strings.Split(session.AccessToken, ".")[0], true)
				signed <- struct{}{}
			}
		})
	}
	for range people * each / 4 {
		<-signed
	}
	s.server.keys.now = func() time.Time { return time.Now().Add(s.server.keys.rotateEvery) }
	if m, err := s.server.keys.keep(t.Context(), false); err != nil || m.promote == "" {
		t.Errorf("rotate: %+v, %v", m, err)
	}
	for _, session := range before { // its key is retiring, and a verifier that starts now knows it
		if a := s.Do(http.MethodGet, "/v1/accounts/me", "", bearer(session)...); a.Status != http.StatusOK {
			t.Errorf("identity answers a token from before the rotation %d %s", a.Status, a.Body)
		}
		if _, err := newcomer.Verify(t.Context(), session.AccessToken); err != nil {
			t.Errorf("who fetches the keys after the rotation: %v", err)
		}
	}
	close(rotated)
	load.Wait()
	var signers int
	kids.Range(func(any, any) bool { signers++; return true })
	if signers != 2 || fetched.Load() != 1 {
		t.Errorf("%d keys signed, want 2; the keys were fetched %d times, want once before the rotation", signers, fetched.Load())
	}
}

// A revoked key signs nothing from then on, and no verifier that has refreshed its keys
// takes its tokens. Those who have one get a new one by a refresh token.
func TestAKeyIsRevokedInAnEmergency(t *testing.T) {
	s := newShop(t)
	keys, verifier, _ := s.published()
	before := s.signIn(address)
	if _, err := verifier.Verify(t.Context(), before.AccessToken); err != nil {
		t.Fatal(err)
	}
	current, err := s.server.keys.signing(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a := s.operators.Do(http.MethodPost, "/v1/keys/"+current.ID+"/revoke", ""); a.Status != http.StatusOK || strings.Contains(a.Body, current.ID) {
		t.Fatalf("revoke: %d %s", a.Status, a.Body)
	}
	if states := s.states(); !slices.Equal(states, []string{keyCurrent, keyNext}) {
		t.Errorf("keys are %q", states)
	}
	after := s.refreshed(before.RefreshToken)
	if _, err := verifier.Verify(t.Context(), after.AccessToken); err != nil { // with the keys of before: it was the next
		t.Errorf("a token of the key that took over: %v", err)
	}
	if a := s.Do(http.MethodGet, "/v1/accounts/me", "", bearer(before)...); !isProblem(a, http.StatusUnauthorized, "token_invalid") {
		t.Errorf("identity takes a token of the revoked key: %d %s", a.Status, a.Body)
	}
	refreshKeys(t, keys)
	if _, err := verifier.Verify(t.Context(), before.AccessToken); fault.Of(err).Code != "token_invalid" {
		t.Errorf("a token of the revoked key: %v", err)
	}
	if _, err := verifier.Verify(t.Context(), after.AccessToken); err != nil {
		t.Errorf("a token of the key that took over: %v", err)
	}
	if a := s.operators.Do(http.MethodPost, "/v1/keys/"+current.ID+"/revoke", ""); !isProblem(a, http.StatusNotFound, "key_not_found") {
		t.Errorf("revoke again: %d %s", a.Status, a.Body)
	}
	if a := s.operators.Do(http.MethodPost, "/v1/keys/rotate", ""); !isProblem(a, http.StatusConflict, "key_too_new") {
		t.Errorf("rotate to a key that nobody knows yet: %d %s", a.Status, a.Body)
	}
}

// refreshKeys has a verifier's keys fetched, as they are every half minute.
func refreshKeys(t *testing.T, keys *token.Remote) {
	t.Helper()
	before := keys.Fetches()
	stop := servicetest.Run(t, keys.Run)
	servicetest.Await(t, "the keys are fetched", func() bool { return keys.Fetches() > before })
	stop()
}
