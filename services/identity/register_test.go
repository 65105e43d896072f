package identity

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"quadrille.internal/platform/servicetest"
)

func (s *shop) confirm(token, password string) servicetest.Answer {
	s.t.Helper()
	return s.Do(http.MethodPost, "/v1/accounts/confirm", body(map[string]string{"token": token, "password": password}))
}

// registered returns the mail that somebody gets who registers.
func (m mailing) registered(address string) received {
	m.t.Helper()
	had := len(m.box.mails(address))
	if a := m.register(address); a.Status != http.StatusAccepted {
		m.t.Fatalf("register: %d %s", a.Status, a.Body)
	}
	m.settled()
	all := m.box.mails(address)
	if len(all) != had+1 {
		m.t.Fatalf("%d mails to %s, want %d", len(all), address, had+1)
	}
	return all[had]
}

func TestRegisterByMail(t *testing.T) {
	m := newMailing(t)
	token := tokenOf(t, m.registered(address))
	if a := m.login(address, pass); !isProblem(a, http.StatusUnauthorized, "credentials") {
		t.Errorf("signed in before the address was confirmed: %d %s", a.Status, a.Body)
	}
	if a := m.confirm(token, "short"); !isProblem(a, http.StatusBadRequest, "out_of_range") {
		t.Errorf("a password that is too short: %d %s", a.Status, a.Body)
	}
	a := m.confirm(token, pass)
	if a.Status != http.StatusCreated {
		t.Fatalf("confirm: %d %s", a.Status, a.Body)
	}
	person := decode[tokens](t, a)
	if me := m.Do(http.MethodGet, "/v1/accounts/me", "", bearer(person)...); me.Status != http.StatusOK || !strings.Contains(me.Body, `"has_password":true`) {
		t.Errorf("me: %d %s", me.Status, me.Body)
	}
	m.signInAgain(address, pass)
	for name, void := range map[string]string{"used": token, "made up": "x"} {
		if a := m.confirm(void, pass); !isProblem(a, http.StatusConflict, "token_void") {
			t.Errorf("a token that is %s: %d %s", name, a.Status, a.Body)
		}
	}
	if n := m.count(`select count(*) from accounts where verified_at is not null`); n != 1 {
		t.Error("the address is not known to be its owner's")
	}
}

// Registering tells nobody whether there is an account. Signing in with the password of one's
// own afterwards does not, either: only the mail does.
func TestRegisteringTellsOnlyTheOwnerOfTheMailbox(t *testing.T) {
	m := newMailing(t)
	m.signIn(address)
	known := m.registered(address)
	unknown := m.registered("new@example.com")
	if !strings.Contains(known.Subject, "You have an account") || tokenInMail.MatchString(known.Text) {
		t.Errorf("who has an account is sent %+v", known)
	}
	tokenOf(t, unknown)
	a, b := m.login(address, "a password of mine"), m.login("new@example.com", "a password of mine")
	if a.Status != b.Status || a.Body != b.Body {
		t.Errorf("signing in after registering: %d %s and %d %s", a.Status, a.Body, b.Status, b.Body)
	}
	m.signInAgain(address, pass)
}

// What a request does, and so its time, does not depend on accounts at all.
func TestRegisteringDoesNotLookForTheAccount(t *testing.T) {
	s := newShop(t)
	tx, err := s.kit.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background()) //nolint:errcheck // it only reads
	if _, err := tx.Exec(t.Context(), `lock table accounts in access exclusive mode`); err != nil {
		t.Fatal(err)
	}
	if a := s.register(address); a.Status != http.StatusAccepted {
		t.Errorf("registered while nobody can look into accounts: %d %s", a.Status, a.Body)
	}
}

// Of two mails for one address the first that is used makes the account. A token for a
// new account is none once the address has one.
func TestOneAddressIsOneAccount(t *testing.T) {
	m := newMailing(t)
	first, second := tokenOf(t, m.registered(address)), tokenOf(t, m.registered(address))
	if a := m.confirm(second, pass); a.Status != http.StatusCreated {
		t.Fatalf("confirm: %d %s", a.Status, a.Body)
	}
	if a := m.confirm(first, "another password"); !isProblem(a, http.StatusConflict, "token_void") {
		t.Errorf("the other mail's: %d %s", a.Status, a.Body)
	}
	late := tokenOf(t, m.registered("ben@example.com"))
	m.signIn("ben@example.com")
	if a := m.confirm(late, "another password"); !isProblem(a, http.StatusConflict, "token_void") {
		t.Errorf("after the address has an account: %d %s", a.Status, a.Body)
	}
	m.signInAgain("ben@example.com", pass)
	expired := tokenOf(t, m.registered("eve@example.com"))
	servicetest.Exec(t, m.kit.Pool, `update mailed_tokens set expires_at = now()`)
	if a := m.confirm(expired, pass); !isProblem(a, http.StatusConflict, "token_void") {
		t.Errorf("half an hour later: %d %s", a.Status, a.Body)
	}
	if _, err := m.server.mails.prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := m.count(`select count(*) from mailed_tokens`); n != 0 {
		t.Errorf("%d tokens are left that expired", n)
	}
}

// Letters of other scripts become ASCII in lower case, such as the sign for kelvin: with them an
// address would be somebody else's.
func TestNoAddressPassesForAnothers(t *testing.T) {
	for _, text := range []string{"\u212Aate@example.com", "ann@\u0130stanbul.example", "Mar\u212A@example.com"} {
		if got, err := normalAddress(text); err == nil {
			t.Errorf("%q passes for %q", text, got)
		}
	}
	for text, want := range map[string]string{"Ann@Example.com": "ann@example.com", "\u00C4nn@example.com": "\u00E4nn@example.com"} {
		if got, err := normalAddress(text); err != nil || got != want {
			t.Errorf("%q is %q, %v, want %q", text, got, err, want)
		}
	}
}
