package identity

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// A model of what a session answers: no matter who presents what, when, the chain never forks, and
// only a token that was exchanged more than ten seconds ago ends it.
func TestRefreshTokensAgreeWithTheirModel(t *testing.T) {
	sec := newSecrets([]byte(master))
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		s, first, err := newSession(uuid.New(), now, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		chain, usedAt := []refreshToken{first}, []time.Time{}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 12_000).Draw(t, "ms")) * time.Millisecond)
			i := rapid.IntRange(max(0, len(chain)-4), len(chain)-1).Draw(t, "token")
			successor, led := s.exchange(chain[i], sec, now)
			switch {
			case i == len(chain)-1:
				if led != exchanged {
					t.Fatalf("the last token: %v", led)
				}
				chain, usedAt = append(chain, successor), append(usedAt, now)
			case now.Sub(usedAt[i]) <= graceTime:
				if led != repeated || successor.String() != chain[i+1].String() {
					t.Fatalf("a token used %v ago: %v, another successor: %v", now.Sub(usedAt[i]), led, successor.String() != chain[i+1].String())
				}
			default:
				if led != reused {
					t.Fatalf("a token used %v ago: %v", now.Sub(usedAt[i]), led)
				}
			}
		}
	})
}

func TestTokensOfNoSession(t *testing.T) {
	sec, now := newSecrets([]byte(master)), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s, first, err := newSession(uuid.New(), now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	second, _ := s.exchange(first, sec, now)
	made := func(generation int, secret []byte) refreshToken { return refreshToken{s.ID, generation, secret} }
	ended := now
	for name, c := range map[string]struct {
		token   refreshToken
		session Session
		at      time.Time
		want    outcome
	}{
		"the last":                        {second, *s, now, exchanged},
		"the first":                       {first, *s, now, repeated},
		"a made-up one":                   {made(1, randomBytes(secretSize)), *s, now, unknown},
		"a made-up one of an old number":  {made(0, randomBytes(secretSize)), *s, now.Add(time.Minute), unknown},
		"a right one of a higher number":  {made(2, second.secret), *s, now, unknown},
		"a right one of a lower number":   {made(0, second.secret), *s, now, unknown},
		"made with another master secret": {newSecrets([]byte("another secret, of another shop.")).next(first), *s, now, unknown},
		"after the session has expired":   {second, *s, now.Add(time.Hour), unknown},
		"after it was revoked":            {second, Session{ID: s.ID, Hash: s.Hash, Generation: 1, ExpiresAt: s.ExpiresAt, RevokedAt: &ended}, now, unknown},
		"very old":                        {first, Session{ID: s.ID, Hash: s.Hash, Generation: maxSteps + 1, ExpiresAt: s.ExpiresAt}, now, unknown},
	} {
		if _, led := c.session.exchange(c.token, sec, c.at); led != c.want {
			t.Errorf("%s: %v, want %v", name, led, c.want)
		}
	}
}

func TestRefreshTokensAsText(t *testing.T) {
	_, first, err := newSession(uuid.New(), time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := parseRefreshToken(first.String()); err != nil || back.String() != first.String() {
		t.Errorf("%v, %v", back, err)
	}
	for _, text := range []string{"", "qrt_", first.String()[4:], first.String() + "A", first.String() + "=", "qrt_****"} {
		if _, err := parseRefreshToken(text); err == nil {
			t.Errorf("%q was taken for a refresh token", text)
		}
	}
}

func FuzzParseRefreshToken(f *testing.F) {
	_, first, err := newSession(uuid.New(), time.Now(), time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(first.String())
	f.Fuzz(func(t *testing.T, text string) {
		if back, err := parseRefreshToken(text); err == nil && back.String() != text {
			t.Errorf("%q became %q", text, back)
		}
	})
}
