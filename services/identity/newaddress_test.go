package identity

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"quadrille.internal/events/identity"
	"quadrille.internal/platform/servicetest"
)

const newAddress = "ann@elsewhere.example"

func (s *shop) beginAddress(person tokens, current, email string) servicetest.Answer {
	s.t.Helper()
	return s.Do(http.MethodPost, "/v1/accounts/me/address/begin", body(map[string]string{"current_email": current, "email": email}), bearer(person)...)
}

func (s *shop) finishAddress(person tokens, token string) servicetest.Answer {
	s.t.Helper()
	return s.Do(http.MethodPost, "/v1/accounts/me/address/finish", body(map[string]string{"token": token}), bearer(person)...)
}

// moves asks for another address and returns the mail that goes there.
func (m mailing) moves(person tokens, current, email string) received {
	m.t.Helper()
	if a := m.beginAddress(person, current, email); a.Status != http.StatusAccepted {
		m.t.Fatalf("ask: %d %s", a.Status, a.Body)
	}
	m.settled()
	all := m.box.mails(email)
	if len(all) == 0 {
		m.t.Fatalf("no mail to %s", email)
	}
	return all[len(all)-1]
}

func TestAnotherAddress(t *testing.T) {
	m := newMailing(t)
	person, elsewhere := m.signIn(address), m.signInAgain(address, pass)
	reset := m.mailed(address)
	token := tokenOf(t, m.moves(person, "ANN@example.com", newAddress))
	m.signInAgain(address, pass) // nothing has changed yet

	stranger := m.signIn("eve@example.com")
	if a := m.finishAddress(stranger, token); !isProblem(a, http.StatusConflict, "token_void") {
		t.Errorf("who was sent somebody else's mail: %d %s", a.Status, a.Body)
	}
	if a := m.finishAddress(person, token); a.Status != http.StatusNoContent {
		t.Fatalf("finish: %d %s", a.Status, a.Body)
	}
	if a := m.login(address, pass); a.Status != http.StatusUnauthorized {
		t.Errorf("the old address still signs in: %d", a.Status)
	}
	m.signInAgain(newAddress, pass)
	m.refreshed(person.RefreshToken)
	if a := m.refresh(elsewhere.RefreshToken); a.Status == http.StatusOK {
		t.Error("another device stays signed in")
	}
	if told := m.revoked(*person.AccountID); !slices.Contains(told, identity.ReasonAddress) {
		t.Errorf("told %q", told)
	}
	m.settled()
	if all := m.box.mails(address); len(all) != 2 || !strings.Contains(all[1].Subject, "another address") || strings.Contains(all[1].Text, newAddress) {
		t.Errorf("the old address was sent %+v", all)
	}
	for name, a := range map[string]servicetest.Answer{
		"the token again":               m.finishAddress(person, token),
		"a reset of the address before": m.setBy(reset, newPass),
	} {
		if !isProblem(a, http.StatusConflict, "token_void") {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
}

// Nobody learns from it which addresses have accounts, and no two accounts have one.
func TestAnAddressThatIsTaken(t *testing.T) {
	m := newMailing(t)
	person, other := m.signIn(address), m.signIn("ben@example.com")
	if got := m.moves(person, address, "ben@example.com"); !strings.Contains(got.Subject, "You have an account") || tokenInMail.MatchString(got.Text) {
		t.Errorf("ben is sent %+v", got)
	}
	first, second := tokenOf(t, m.moves(person, address, newAddress)), tokenOf(t, m.moves(other, "ben@example.com", newAddress))
	if a := m.finishAddress(other, second); a.Status != http.StatusNoContent {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	if a := m.finishAddress(person, first); !isProblem(a, http.StatusConflict, "token_void") {
		t.Errorf("the other one: %d %s", a.Status, a.Body)
	}
	m.signInAgain(address, pass)
}

func TestWhoMayChangeTheAddress(t *testing.T) {
	s := newShop(t)
	person := s.signIn(address)
	for what, current := range map[string]string{"another's": "ben@example.com", "none": "", "no address": "ann"} {
		if a := s.beginAddress(person, current, newAddress); !isProblem(a, http.StatusBadRequest, "wrong_address") {
			t.Errorf("the old address is %s: %d %s", what, a.Status, a.Body)
		}
	}
	servicetest.Exec(t, s.kit.Pool, `update sessions set created_at = now() - $1::interval`, recently+time.Second)
	if a := s.beginAddress(person, address, newAddress); !isProblem(a, http.StatusForbidden, "sign_in_again") {
		t.Errorf("signed in long ago: %d %s", a.Status, a.Body)
	}
	if n := s.count(`select count(*) from mails`); n != 0 {
		t.Errorf("%d mails are asked for", n)
	}
}

// An access token outlives its session by minutes. Who was signed out, since the owner has set
// another password, cannot finish what would let him in again.
func TestWhoWasSignedOutTakesNoAccountAway(t *testing.T) {
	m := newMailing(t)
	thief := m.signIn(address)
	token := tokenOf(t, m.moves(thief, address, newAddress))
	if a := m.setBy(m.mailed(address), newPass); a.Status != http.StatusNoContent {
		t.Fatalf("the owner's new password: %d %s", a.Status, a.Body)
	}
	if a := m.finishAddress(thief, token); !isProblem(a, http.StatusUnauthorized, "session_ended") {
		t.Errorf("who was signed out: %d %s", a.Status, a.Body)
	}
	owner := m.signInAgain(address, newPass)
	if a := m.finishAddress(owner, token); a.Status != http.StatusNoContent {
		t.Errorf("the owner, by the same mail: %d %s", a.Status, a.Body)
	}
}
