package identity

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/events/identity"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/servicetest"
)

func TestRegisterSignInAndOut(t *testing.T) {
	s := newShop(t)
	got := s.signIn(address)
	if got.TokenType != "Bearer" || got.ExpiresIn != 300 || got.AccountID == nil || got.SessionID == nil {
		t.Errorf("signed in: %+v", got)
	}
	me := s.Do(http.MethodGet, "/v1/accounts/me", "", bearer(got)...)
	if me.Status != http.StatusOK || !strings.Contains(me.Body, got.AccountID.String()) {
		t.Errorf("me: %d %s", me.Status, me.Body)
	}
	other := s.signInAgain("ANN@Example.com", pass) // the same person at another device
	list := decode[struct{ Sessions []sessionView }](t, s.Do(http.MethodGet, "/v1/sessions", "", bearer(got)...))
	if len(list.Sessions) != 2 || list.Sessions[0].ID != *other.SessionID || list.Sessions[0].Current || !list.Sessions[1].Current {
		t.Errorf("sessions: %+v", list.Sessions)
	}
	for range 2 { // logging out twice is no error, and told once
		if a := s.Do(http.MethodDelete, "/v1/sessions/"+other.SessionID.String(), "", bearer(got)...); a.Status != http.StatusNoContent {
			t.Errorf("log out: %d %s", a.Status, a.Body)
		}
	}
	if a := s.refresh(other.RefreshToken); !isProblem(a, http.StatusBadRequest, "invalid_grant") {
		t.Errorf("refresh after logging out: %d %s", a.Status, a.Body)
	}
	if a := s.Do(http.MethodDelete, "/v1/sessions", "", bearer(got)...); a.Status != http.StatusNoContent {
		t.Errorf("log out everywhere: %d %s", a.Status, a.Body)
	}
	if a := s.refresh(got.RefreshToken); a.Status != http.StatusBadRequest {
		t.Errorf("refresh after logging out everywhere: %d %s", a.Status, a.Body)
	}
	if told := s.revoked(*got.AccountID); !slices.Equal(told, []string{identity.ReasonLogout, identity.ReasonLogout}) {
		t.Errorf("told %q", told)
	}
}

// Sessions are their owner's only: those of others are not admitted to exist.
func TestSessionsOfOthers(t *testing.T) {
	s := newShop(t)
	ann, bob := s.signIn(address), s.signIn("bob@example.com")
	if a := s.Do(http.MethodDelete, "/v1/sessions/"+bob.SessionID.String(), "", bearer(ann)...); a.Status != http.StatusNoContent {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	s.refreshed(bob.RefreshToken) // it goes on
	for _, route := range []string{"GET /v1/accounts/me", "GET /v1/sessions", "DELETE /v1/sessions", "DELETE /v1/sessions/" + uuid.NewString(), "PUT /v1/accounts/me/password"} {
		method, path, _ := strings.Cut(route, " ")
		if a := s.Do(method, path, ""); !isProblem(a, http.StatusUnauthorized, "caller_unknown") {
			t.Errorf("%s of nobody: %d %s", route, a.Status, a.Body)
		}
	}
}

// The answer to a lost reply, or to the other tab, is the same successor. Many at once get
// the same one too.
func TestRefreshTwiceWithinTheGrace(t *testing.T) {
	s := newShop(t)
	first := s.signIn(address)
	answers := make([]tokens, 8)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = decode[tokens](t, s.refresh(first.RefreshToken)) })
	}
	all.Wait()
	for _, a := range answers {
		if a.RefreshToken == "" || a.RefreshToken != answers[0].RefreshToken || a.AccessToken == "" {
			t.Fatalf("successors differ: %+v, %+v", a, answers[0])
		}
	}
	third := s.refreshed(answers[0].RefreshToken)
	if again := s.refreshed(first.RefreshToken); again.RefreshToken != answers[0].RefreshToken {
		t.Error("the first token has another successor once that was exchanged as well")
	}
	s.age(*first.SessionID, graceTime/2)
	if again := s.refreshed(first.RefreshToken); again.RefreshToken != answers[0].RefreshToken {
		t.Error("another successor before the grace ends")
	}
	s.refreshed(third.RefreshToken)
	if told := s.revoked(*first.AccountID); len(told) > 0 {
		t.Errorf("told %q", told)
	}
}

// No matter who comes first, thief or owner: once the other one uses the token too, after the
// grace, nobody goes on.
func TestAStolenRefreshTokenEndsTheSession(t *testing.T) {
	s := newShop(t)
	owner := s.signIn(address)
	elsewhere := s.signInAgain(address, pass)
	thief := s.refreshed(owner.RefreshToken)
	thief = s.refreshed(thief.RefreshToken)
	s.age(*owner.SessionID, graceTime+time.Second)
	if a := s.refresh(owner.RefreshToken); !isProblem(a, http.StatusBadRequest, "invalid_grant") {
		t.Errorf("the owner: %d %s", a.Status, a.Body)
	}
	if a := s.refresh(thief.RefreshToken); !isProblem(a, http.StatusBadRequest, "invalid_grant") {
		t.Errorf("the thief: %d %s", a.Status, a.Body)
	}
	s.refresh(owner.RefreshToken)
	if told := s.revoked(*owner.AccountID); !slices.Equal(told, []string{identity.ReasonReuse}) {
		t.Errorf("told %q, want once that a token was reused", told)
	}
	s.refreshed(elsewhere.RefreshToken) // another session of the same person goes on
}

// addSessions gives an account sessions, the first used a minute ago, each next one a minute earlier.
func (s *shop) addSessions(account uuid.UUID, n int) {
	s.t.Helper()
	servicetest.Exec(s.t, s.kit.Pool, `
		insert into sessions (id, account_id, token_hash, generation, exchanges, created_at, used_at, expires_at)
		select gen_random_uuid(), $1, '', i, '{}', now() - interval '20 d', now() - i * interval '1 min', now() + interval '10 d' from generate_series(1, $2) i`, account, n)
}

// live counts the sessions that last.
func (s *shop) live() int {
	s.t.Helper()
	return s.count(`select count(*) from sessions where revoked_at is null and expires_at > now()`)
}

// An account has a hundred sessions. A sign-in more ends the one that was used longest ago, of those
// that last, and says so; nobody else's.
func TestASessionMoreEndsTheOneUsedLongestAgo(t *testing.T) {
	s := newShop(t)
	other := s.signIn("ben@example.com")
	s.addSessions(*other.AccountID, maxSessions-1)
	first := s.signIn(address)
	s.addSessions(*first.AccountID, maxSessions-1)
	servicetest.Exec(t, s.kit.Pool, `update sessions set used_at = now() - interval '1 d' where id = $1`, first.SessionID)
	s.refreshed(first.RefreshToken) // now the first is not the one
	last := s.signInAgain(address, pass)
	if ended := s.count(`select coalesce(sum(generation), 0) from sessions where revoked_for = $1`, identity.ReasonTooMany); ended != maxSessions-1 {
		t.Errorf("those of number %d ended, want %d, the one used longest ago", ended, maxSessions-1)
	}
	if told := s.revoked(*first.AccountID); !slices.Equal(told, []string{identity.ReasonTooMany}) {
		t.Errorf("told %q", told)
	}
	// What has ended or expired takes no place.
	servicetest.Exec(t, s.kit.Pool, `update sessions set expires_at = now() - interval '1 h' where generation = 2 and account_id = $1`, first.AccountID)
	s.signInAgain(address, pass)
	// An account of a release without this bound has too many.
	s.addSessions(*first.AccountID, 50)
	s.signInAgain(address, pass)
	if told := s.revoked(*first.AccountID); len(told) != 1+51 {
		t.Errorf("told %d ends, want 52", len(told))
	}
	if n := s.live(); n != 2*maxSessions {
		t.Errorf("%d sessions last, want %d of each of two accounts", n, maxSessions)
	}
	s.refreshed(last.RefreshToken)
	s.refreshed(other.RefreshToken)
}

// Sign-ins at once do not exceed the bound together.
func TestSignInsAtOnceKeepTheBound(t *testing.T) {
	s := newShop(t)
	account := *s.signIn(address).AccountID
	s.addSessions(account, maxSessions-2)
	s.during(account, 4, func() {
		if a := s.login(address, pass); a.Status != http.StatusCreated {
			t.Errorf("sign in: %d %s", a.Status, a.Body)
		}
	}, func(context.Context, pgx.Tx) error { return nil })
	if n := s.live(); n != maxSessions {
		t.Errorf("%d sessions last, want %d", n, maxSessions)
	}
}

// during has n at once do what needs the account, while a transaction has it. That ends once all wait.
func (s *shop) during(account uuid.UUID, n int, do func(), change func(context.Context, pgx.Tx) error) {
	s.t.Helper()
	var doing sync.WaitGroup
	err := pgtx.Run(s.t.Context(), s.kit.Pool, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := lockAccount(ctx, tx, account); err != nil {
			return err
		}
		for range n {
			doing.Go(do)
		}
		servicetest.Await(s.t, "all wait for the account", func() bool {
			return s.count(`select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`) == n
		})
		return change(ctx, tx)
	})
	if err != nil {
		s.t.Error(err)
	}
	doing.Wait()
}

// Replicas have clocks of their own: a session that another one used a moment later, by its clock,
// ends all the same, and not before it was used.
func TestASessionEndsAfterItsLastUse(t *testing.T) {
	s := newShop(t)
	got := s.signIn(address)
	servicetest.Exec(t, s.kit.Pool, `update sessions set used_at = now() + interval '1 s'`)
	if a := s.Do(http.MethodDelete, "/v1/sessions", "", bearer(got)...); a.Status != http.StatusNoContent {
		t.Fatalf("sign out: %d %s", a.Status, a.Body)
	}
	if ended := s.count(`select count(*) from sessions where revoked_at is not null`); ended != 1 {
		t.Errorf("%d sessions have ended, want 1", ended)
	}
	if early := s.count(`select count(*) from sessions where revoked_at < used_at`); early > 0 {
		t.Error("it ended before it was used")
	}
}

// Nobody ends a session by its id, which every access token names.
func TestAMadeUpRefreshTokenEndsNothing(t *testing.T) {
	s := newShop(t)
	got := s.signIn(address)
	s.refreshed(got.RefreshToken)
	s.age(*got.SessionID, time.Minute)
	forged := refreshToken{session: *got.SessionID, generation: 0, secret: randomBytes(secretSize)}
	for _, path := range []string{"/v1/tokens", "/v1/tokens/revoke"} {
		s.form(path, nil, "grant_type", "refresh_token", "refresh_token", forged.String(), "token", forged.String())
	}
	if told := s.revoked(*got.AccountID); len(told) > 0 {
		t.Errorf("told %q", told)
	}
}

// Neither refresh tokens nor addresses nor keys can be read from the tables.
func TestWhatIsStoredOpensNothing(t *testing.T) {
	s := newShop(t)
	got := s.signIn(address)
	second := s.refreshed(got.RefreshToken)
	key, err := s.server.keys.signing(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parseRefreshToken(second.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	var stored string
	err = s.kit.Pool.QueryRow(t.Context(), `select concat(
		(select string_agg(a::text, '') from accounts a), (select string_agg(x::text, '') from sessions x),
		(select string_agg(k::text, '') from signing_keys k), (select string_agg(p::text, '') from attempts p))`).Scan(&stored)
	if err != nil {
		t.Fatal(err)
	}
	for what, secret := range map[string][]byte{
		"the address": []byte(address), "the refresh token": []byte(second.RefreshToken), "its secret": parsed.secret,
		"the signing key": key.Private.Seed(), "the password": []byte(pass),
	} {
		if strings.Contains(stored, string(secret)) || strings.Contains(stored, hexOf(secret)) { // as a text, bytes are in hexadecimal
			t.Errorf("the tables hold %s", what)
		}
	}
}

func (s *shop) changePassword(person tokens, current, replacement string) servicetest.Answer {
	s.t.Helper()
	return s.Do(http.MethodPut, "/v1/accounts/me/password", body(map[string]string{"current_password": current, "new_password": replacement}), bearer(person)...)
}

func TestPasswordChange(t *testing.T) {
	s := newShop(t)
	here, elsewhere := s.signIn(address), s.signInAgain(address, pass)
	change := func(current, replacement string) servicetest.Answer {
		return s.changePassword(here, current, replacement)
	}
	if a := change("wrong horse", "battery staple"); !isProblem(a, http.StatusBadRequest, "wrong_password") {
		t.Errorf("with a wrong password: %d %s", a.Status, a.Body)
	}
	if a := change(pass, "short"); !isProblem(a, http.StatusBadRequest, "out_of_range") {
		t.Errorf("to a short one: %d %s", a.Status, a.Body)
	}
	if a := change(pass, "battery staple"); a.Status != http.StatusNoContent {
		t.Fatalf("change: %d %s", a.Status, a.Body)
	}
	if a := s.refresh(elsewhere.RefreshToken); a.Status != http.StatusBadRequest {
		t.Errorf("another session goes on: %d %s", a.Status, a.Body)
	}
	s.refreshed(here.RefreshToken)
	if a := s.login(address, pass); !isProblem(a, http.StatusUnauthorized, "credentials") {
		t.Errorf("the old password: %d %s", a.Status, a.Body)
	}
	s.signInAgain(address, "battery staple")
	if told := s.revoked(*here.AccountID); !slices.Equal(told, []string{identity.ReasonPassword}) {
		t.Errorf("told %q", told)
	}
}

// A sign-in that checked the old password before it was changed gets no session after.
func TestSigningInWhileThePasswordChanges(t *testing.T) {
	s := newShop(t)
	s.signIn(address)
	account, err := s.server.checkLogin(t.Context(), address, pass)
	if err != nil {
		t.Fatal(err)
	}
	servicetest.Exec(t, s.kit.Pool, `update accounts set password = 'another'`)
	if _, err := s.server.open(t.Context(), account); err == nil {
		t.Error("a session was opened with the old password")
	}
}

func TestLogoutByRefreshToken(t *testing.T) {
	s := newShop(t)
	got := s.signIn(address)
	for _, presented := range []string{got.RefreshToken, got.RefreshToken, "qrt_nonsense", ""} {
		if a := s.form("/v1/tokens/revoke", nil, "token", presented); a.Status != http.StatusOK {
			t.Errorf("%q: %d %s", presented, a.Status, a.Body)
		}
	}
	if a := s.refresh(got.RefreshToken); a.Status != http.StatusBadRequest {
		t.Errorf("refresh after: %d", a.Status)
	}
	if told := s.revoked(*got.AccountID); !slices.Equal(told, []string{identity.ReasonLogout}) {
		t.Errorf("told %q", told)
	}
}
