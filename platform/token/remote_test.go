package token_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/platform/token"
	"quadrille.internal/platform/tokentest"
)

func remote(t testing.TB, identity *tokentest.Identity) *token.Remote {
	t.Helper()
	r := token.NewRemote(identity.URL, slog.New(slog.DiscardHandler))
	t.Cleanup(r.CloseIdle)
	return r
}

// clocked returns keys of identity that go by now, and a verifier that has them.
func clocked(t *testing.T, identity *tokentest.Identity) (keys *token.Remote, v *token.Verifier, now *time.Time) {
	t.Helper()
	keys, now = remote(t, identity), new(time.Now())
	keys.SetClock(func() time.Time { return *now })
	return keys, token.NewVerifier(identity.URL, keys), now
}

// A flood of tokens that name unknown keys asks identity for its keys once in the
// cool-down, and does not keep a key from being found after it.
func TestUnknownKeysDoNotHammerIdentity(t *testing.T) {
	identity := tokentest.New(t)
	_, v, now := clocked(t, identity)
	good := identity.Token(carl)
	if _, err := v.Verify(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(token.CoolDown)
	var flood sync.WaitGroup
	for n := range 20 {
		flood.Go(func() {
			for m := range 50 {
				forged := identity.SignedBy(tokentest.NewKey(t, fmt.Sprintf("forged-%d-%d", n, m)), carl, time.Now())
				if _, err := v.Verify(t.Context(), forged); fault.Of(err).Code != "token_invalid" {
					t.Errorf("a forged token: %v", err)
				}
			}
		})
	}
	flood.Wait()
	if got := identity.Fetched(); got != 2 {
		t.Errorf("the keys were fetched %d times, want once for the first token and once for 1000 forged ones", got)
	}
	late := tokentest.NewKey(t, "late")
	identity.SetKeys(late)
	fresh := identity.Token(carl)
	if _, err := v.Verify(t.Context(), fresh); fault.Of(err).Code != "token_invalid" {
		t.Errorf("within the cool-down: %v", err)
	}
	*now = now.Add(token.CoolDown)
	if _, err := v.Verify(t.Context(), fresh); err != nil {
		t.Errorf("after the cool-down: %v", err)
	}
}

// The kept keys go on while identity is away; without any the answer says to try again.
func TestIdentityAway(t *testing.T) {
	identity := tokentest.New(t)
	keys, v, now := clocked(t, identity)
	identity.SetDown(true)
	if _, err := v.Verify(t.Context(), identity.Token(carl)); fault.Of(err).Code != "token_keys" || fault.Of(err).Kind != fault.Unavailable {
		t.Errorf("without keys: %v", err)
	}
	identity.SetDown(false)
	*now = now.Add(time.Second)
	if _, err := v.Verify(t.Context(), identity.Token(carl)); err != nil {
		t.Errorf("once identity answers: %v", err)
	}
	identity.SetDown(true)
	if err := keys.Refresh(t.Context()); err == nil {
		t.Error("a refresh without identity: no error")
	}
	if _, err := v.Verify(t.Context(), identity.Token(carl)); err != nil {
		t.Errorf("with the kept keys: %v", err)
	}
}

// A key that identity began to use while it could not be asked is not one that it does not have:
// its tokens are right, and nobody is told to sign in again.
func TestANewKeyWhileIdentityIsAway(t *testing.T) {
	identity := tokentest.New(t)
	_, v, now := clocked(t, identity)
	if _, err := v.Verify(t.Context(), identity.Token(carl)); err != nil {
		t.Fatal(err)
	}
	identity.SetKeys(tokentest.NewKey(t, "fresh"))
	identity.SetDown(true)
	*now = now.Add(token.CoolDown)
	fresh := identity.Token(carl)
	for _, when := range []string{"when it is asked for", "within the cool-down"} {
		if _, err := v.Verify(t.Context(), fresh); fault.Of(err).Code != "token_keys" || fault.Of(err).Kind != fault.Unavailable {
			t.Errorf("%s: %v", when, err)
		}
	}
	if got := identity.Fetched(); got != 2 {
		t.Errorf("the keys were asked for %d times, want 2", got)
	}
	identity.SetDown(false)
	*now = now.Add(token.CoolDown)
	if _, err := v.Verify(t.Context(), fresh); err != nil {
		t.Errorf("once identity answers: %v", err)
	}
}

// Services start at the same moment as identity: a request that comes meanwhile waits for the
// first keys, and not for the next refresh.
func TestTheFirstKeysAreWaitedFor(t *testing.T) {
	identity := tokentest.New(t)
	identity.SetDown(true)
	keys := remote(t, identity)
	if err := keys.Refresh(t.Context()); err == nil {
		t.Fatal("identity is away")
	}
	identity.SetDown(false)
	if _, err := token.NewVerifier(identity.URL, keys).Verify(t.Context(), identity.Token(carl)); err != nil {
		t.Errorf("right after identity has started: %v", err)
	}
}

// Forged tokens that wait for a slow identity do not take the places of all requests: the one
// too many is answered while the others wait.
func TestFewRequestsWaitForKeys(t *testing.T) {
	asked, release := make(chan struct{}, 1), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-release
	}))
	defer server.Close()
	keys := token.NewRemote(server.URL, slog.New(slog.DiscardHandler))
	defer keys.CloseIdle()
	answers := make(chan error, token.MaxWaiting+1)
	for range token.MaxWaiting + 1 {
		go func() { _, err := keys.Key(t.Context(), "unknown"); answers <- err }()
	}
	<-asked
	if err := <-answers; err == nil || keys.Failed() > 0 {
		t.Errorf("the first answer is %v, after %d fetches failed: want that too many wait, and none", err, keys.Failed())
	}
	close(release)
	for range token.MaxWaiting {
		<-answers
	}
}

// Run takes up keys without being asked, so that a rotation costs no request a fetch, and
// forgets a revoked one.
func TestKeysAreRefreshed(t *testing.T) {
	identity := tokentest.New(t)
	keys := remote(t, identity)
	servicetest.Run(t, keys.Run)
	servicetest.Await(t, "the keys are fetched", func() bool { return identity.Fetched() == 1 })
	identity.SetDown(true)
	v := token.NewVerifier(identity.URL, keys)
	servicetest.Await(t, "a token is verified", func() bool {
		_, err := v.Verify(t.Context(), identity.Token(caller.Caller{ID: "c1"}))
		return err == nil
	})
}
