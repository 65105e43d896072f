package identity

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/google/uuid"

	"quadrille.internal/platform/servicetest"
)

// device is a browser before a shop.
type device struct {
	*shop
	*browser
	t *testing.T
}

func newDevice(t *testing.T) device {
	t.Helper()
	b := startBrowser(t)
	return device{newShopWith(t, map[string]string{"QUADRILLE_SHOP_URL": b.shop}), b, t}
}

// ceremonyOf is an answer to begin.
type ceremonyOf struct {
	Ceremony  string          `json:"ceremony"`
	ExpiresAt time.Time       `json:"expires_at"`
	Options   json.RawMessage `json:"options"`
}

func (d device) begin(path string, header ...string) ceremonyOf {
	d.t.Helper()
	a := d.Do(http.MethodPost, path, "", header...)
	if a.Status != http.StatusCreated {
		d.t.Fatalf("%s: %d %s", path, a.Status, a.Body)
	}
	return decode[ceremonyOf](d.t, a)
}

// made has the authenticator make a passkey for the ceremony.
func (d device) made(c ceremonyOf) json.RawMessage {
	d.t.Helper()
	got, err := d.run("add", c.Options)
	if err != nil {
		d.t.Fatalf("make a passkey: %v", err)
	}
	return got
}

func (d device) finishAddition(c ceremonyOf, made json.RawMessage, who tokens) servicetest.Answer {
	d.t.Helper()
	return d.Do(http.MethodPost, "/v1/accounts/me/passkey/finish",
		body(map[string]any{"ceremony": c.Ceremony, "credential": made, "name": "Ann's phone"}), bearer(who)...)
}

// add makes a passkey of an account.
func (d device) add(who tokens) passkeyView {
	d.t.Helper()
	c := d.begin("/v1/accounts/me/passkey/begin", bearer(who)...)
	a := d.finishAddition(c, d.made(c), who)
	if a.Status != http.StatusCreated {
		d.t.Fatalf("add the passkey: %d %s", a.Status, a.Body)
	}
	return decode[passkeyView](d.t, a)
}

// used has the authenticator answer for a sign-in.
func (d device) used(c ceremonyOf) json.RawMessage {
	d.t.Helper()
	got, err := d.run("use", c.Options)
	if err != nil {
		d.t.Fatalf("use a passkey: %v", err)
	}
	return got
}

func (d device) finishSignIn(c ceremonyOf, used json.RawMessage) servicetest.Answer {
	d.t.Helper()
	return d.Do(http.MethodPost, "/v1/sessions/passkey/finish", body(map[string]any{"ceremony": c.Ceremony, "credential": used}))
}

func (d device) signInByPasskey() servicetest.Answer {
	d.t.Helper()
	c := d.begin("/v1/sessions/passkey/begin")
	return d.finishSignIn(c, d.used(c))
}

func (d device) passkeys(who tokens) []passkeyView {
	d.t.Helper()
	a := d.Do(http.MethodGet, "/v1/accounts/me/passkeys", "", bearer(who)...)
	return decode[struct{ Passkeys []passkeyView }](d.t, a).Passkeys
}

func TestAPasskeyInARealBrowser(t *testing.T) {
	d := newDevice(t)
	ann := d.signIn(address)
	added := d.add(ann)
	if got := d.credentials(); len(got) != 1 || !got[0].IsResidentCredential || got[0].RpID != "localhost" || uuid.UUID(got[0].UserHandle) != *ann.AccountID {
		t.Fatalf("the authenticator has %d credentials, the first %+v", len(got), got)
	}

	a := d.signInByPasskey()
	if a.Status != http.StatusCreated {
		t.Fatalf("sign in: %d %s", a.Status, a.Body)
	}
	by := decode[tokens](t, a)
	if *by.AccountID != *ann.AccountID || *by.SessionID == *ann.SessionID {
		t.Errorf("signed in to account %s, session %s", by.AccountID, by.SessionID)
	}
	if a := d.refresh(by.RefreshToken); a.Status != http.StatusOK {
		t.Errorf("refresh: %d %s", a.Status, a.Body)
	}
	list := d.passkeys(by)
	if len(list) != 1 || list[0].ID != added.ID || list[0].Name != "Ann's phone" || list[0].UsedAt == nil {
		t.Errorf("listed %+v", list)
	}

	if a := d.Do(http.MethodDelete, "/v1/accounts/me/passkeys/"+added.ID.String(), "", bearer(by)...); a.Status != http.StatusNoContent {
		t.Fatalf("remove: %d %s", a.Status, a.Body)
	}
	if a := d.signInByPasskey(); !isProblem(a, http.StatusUnauthorized, "passkey_refused") {
		t.Errorf("a passkey that was removed: %d %s", a.Status, a.Body)
	}
}

// Who began to add a passkey and was signed out since then does not get to the end.
func TestWhoWasSignedOutAddsNoPasskey(t *testing.T) {
	d := newDevice(t)
	thief := d.signIn(address)
	c := d.begin("/v1/accounts/me/passkey/begin", bearer(thief)...)
	made := d.made(c)
	d.Do(http.MethodDelete, "/v1/sessions", "", bearer(d.signInAgain(address, pass))...)
	if a := d.finishAddition(c, made, thief); !isProblem(a, http.StatusUnauthorized, "session_ended") {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if n := d.count(`select count(*) from passkeys`); n != 0 {
		t.Errorf("%d passkeys were added", n)
	}
}

func TestAPasskeysCeremonies(t *testing.T) {
	d := newDevice(t)
	ann, bob := d.signIn(address), d.signIn("bob@example.com")
	expire := func() { servicetest.Exec(t, d.kit.Pool, `update ceremonies set expires_at = now()`) }

	t.Run("the same device twice", func(t *testing.T) {
		d.add(ann)
		c := d.begin("/v1/accounts/me/passkey/begin", bearer(ann)...)
		if _, err := d.run("add", c.Options); err == nil || !strings.Contains(err.Error(), "InvalidStateError") {
			t.Errorf("made another passkey beside the one there is: %v", err)
		}
	})
	t.Run("a ceremony of somebody else", func(t *testing.T) {
		c := d.begin("/v1/accounts/me/passkey/begin", bearer(bob)...)
		if a := d.finishAddition(c, d.made(c), ann); !isProblem(a, http.StatusConflict, "ceremony_over") {
			t.Errorf("bob's passkey for ann: %d %s", a.Status, a.Body)
		}
	})
	t.Run("a late addition", func(t *testing.T) {
		carl := d.signIn("carl@example.com")
		c := d.begin("/v1/accounts/me/passkey/begin", bearer(carl)...)
		made := d.made(c)
		expire()
		if a := d.finishAddition(c, made, carl); !isProblem(a, http.StatusConflict, "ceremony_over") {
			t.Errorf("added: %d %s", a.Status, a.Body)
		}
	})
	// The authenticator has several by now; only ann's was ever registered.
	call(d.browser, webauthn.ClearCredentials, webauthn.ClearCredentialsParams{AuthenticatorID: d.authenticator})
	dora := d.signIn("dora@example.com")
	d.add(dora)

	t.Run("a sign-in twice", func(t *testing.T) {
		c := d.begin("/v1/sessions/passkey/begin")
		used := d.used(c)
		if a := d.finishSignIn(c, used); a.Status != http.StatusCreated {
			t.Fatalf("sign in: %d %s", a.Status, a.Body)
		}
		if a := d.finishSignIn(c, used); !isProblem(a, http.StatusConflict, "ceremony_over") {
			t.Errorf("the same again: %d %s", a.Status, a.Body)
		}
	})
	t.Run("an answer to another challenge", func(t *testing.T) {
		used := d.used(d.begin("/v1/sessions/passkey/begin"))
		if a := d.finishSignIn(d.begin("/v1/sessions/passkey/begin"), used); !isProblem(a, http.StatusUnauthorized, "passkey_refused") {
			t.Errorf("signed in: %d %s", a.Status, a.Body)
		}
	})
	t.Run("a late sign-in", func(t *testing.T) {
		c := d.begin("/v1/sessions/passkey/begin")
		used := d.used(c)
		expire()
		if a := d.finishSignIn(c, used); !isProblem(a, http.StatusConflict, "ceremony_over") {
			t.Errorf("signed in: %d %s", a.Status, a.Body)
		}
	})
	t.Run("a sign-in with the ceremony of an addition", func(t *testing.T) {
		used := d.used(d.begin("/v1/sessions/passkey/begin"))
		c := d.begin("/v1/accounts/me/passkey/begin", bearer(dora)...)
		if a := d.finishSignIn(c, used); !isProblem(a, http.StatusConflict, "ceremony_over") {
			t.Errorf("signed in: %d %s", a.Status, a.Body)
		}
	})
	t.Run("no answer at all", func(t *testing.T) {
		for _, nonsense := range []string{`{}`, `null`, `[]`, `"x"`, `{"id":"x","type":"public-key"}`} {
			c := d.begin("/v1/sessions/passkey/begin")
			if a := d.finishSignIn(c, json.RawMessage(nonsense)); !isProblem(a, http.StatusUnauthorized, "passkey_refused") {
				t.Errorf("%s: %d %s", nonsense, a.Status, a.Body)
			}
		}
	})
}

// A browser whose page asks for less than we did: its authenticator does not verify the
// person then, and says so.
func TestAPasskeyThatVerifiedNobody(t *testing.T) {
	d := newDevice(t)
	d.add(d.signIn(address))
	d.userIsVerified(false)
	c := d.begin("/v1/sessions/passkey/begin")
	if _, err := d.run("use", c.Options); err == nil {
		t.Error("the authenticator answers though it cannot verify the person")
	}
	c.Options = json.RawMessage(strings.Replace(string(c.Options), `"required"`, `"discouraged"`, 1))
	if a := d.finishSignIn(c, d.used(c)); !isProblem(a, http.StatusUnauthorized, "passkey_refused") {
		t.Errorf("signed in: %d %s", a.Status, a.Body)
	}
}

// A copy of a key counts on from where it was copied.
func TestAPasskeyThatWasCopied(t *testing.T) {
	d := newDevice(t)
	d.add(d.signIn(address))
	copied := d.credentials()[0]
	for n := range 3 {
		if a := d.signInByPasskey(); a.Status != http.StatusCreated {
			t.Fatalf("sign-in %d: %d %s", n, a.Status, a.Body)
		}
	}
	d.holds(copied)
	if a := d.signInByPasskey(); !isProblem(a, http.StatusUnauthorized, "passkey_refused") {
		t.Errorf("the copy: %d %s", a.Status, a.Body)
	}
}

// holds has the authenticator hold this key alone.
func (d device) holds(key *webauthn.Credential) {
	d.t.Helper()
	call(d.browser, webauthn.ClearCredentials, webauthn.ClearCredentialsParams{AuthenticatorID: d.authenticator})
	// Not webauthn.AddCredential, which sends fields that this authenticator refuses.
	call(d.browser, cdp.Command[map[string]any, cdp.Empty]{Method: "WebAuthn.addCredential"}, map[string]any{
		"authenticatorId": d.authenticator,
		"credential": map[string]any{
			"credentialId": key.CredentialID, "isResidentCredential": true, "rpId": key.RpID,
			"privateKey": key.PrivateKey, "userHandle": key.UserHandle, "signCount": key.SignCount,
		},
	})
}

// A device says whose its key is, and must name the account that has registered it.
func TestAPasskeyThatNamesAnotherAccount(t *testing.T) {
	d := newDevice(t)
	d.add(d.signIn(address))
	key := d.credentials()[0]
	key.SignCount++ // a counter that stands still would be refused, too
	d.holds(key)
	if a := d.signInByPasskey(); a.Status != http.StatusCreated {
		t.Fatalf("with its own account: %d %s", a.Status, a.Body)
	}
	bob := *d.signIn("bob@example.com").AccountID
	key.UserHandle, key.SignCount = bob[:], key.SignCount+10
	d.holds(key)
	if a := d.signInByPasskey(); !isProblem(a, http.StatusUnauthorized, "passkey_refused") {
		t.Errorf("with bob's: %d %s", a.Status, a.Body)
	}
}

// A page of another origin gets nothing that we would take.
func TestAPasskeyForAnotherOrigin(t *testing.T) {
	b := startBrowser(t)
	elsewhere := strings.Replace(b.shop, "localhost", "shop.localhost", 1)
	d := device{newShopWith(t, map[string]string{"QUADRILLE_SHOP_URL": elsewhere}), b, t}
	c := d.begin("/v1/accounts/me/passkey/begin", bearer(d.signIn(address))...)
	if _, err := d.run("add", c.Options); err == nil || !strings.Contains(err.Error(), "SecurityError") {
		t.Errorf("the browser makes a passkey for another origin: %v", err)
	}
	// A browser that does not look: the passkey is made for its own origin.
	ann := d.signInAgain(address, pass)
	c = d.begin("/v1/accounts/me/passkey/begin", bearer(ann)...)
	c.Options = json.RawMessage(strings.Replace(string(c.Options), `"id":"shop.localhost"`, `"id":"localhost"`, 1))
	if a := d.finishAddition(c, d.made(c), ann); !isProblem(a, http.StatusUnauthorized, "passkey_refused") {
		t.Errorf("added: %d %s", a.Status, a.Body)
	}
}

// An authenticator knows hosts and no ports: for a page on another port of the shop's host it
// answers, and only what the browser says of the page tells that it is not ours.
func TestAPasskeyForAnotherPort(t *testing.T) {
	const elsewhere = "http://localhost:1"
	d := newDevice(t)
	ours := d.server.passkeys.rules.Config
	ann := d.signIn(address)
	d.add(ann)
	ours.RPOrigins = []string{elsewhere}
	if a := d.signInByPasskey(); !isProblem(a, http.StatusUnauthorized, "passkey_refused") {
		t.Errorf("signed in: %d %s", a.Status, a.Body)
	}
	bob := d.signIn("bob@example.com")
	c := d.begin("/v1/accounts/me/passkey/begin", bearer(bob)...)
	if a := d.finishAddition(c, d.made(c), bob); !isProblem(a, http.StatusUnauthorized, "passkey_refused") {
		t.Errorf("added: %d %s", a.Status, a.Body)
	}
}

// plantPasskeys gives an account passkeys that nobody has.
func (s *shop) plantPasskeys(account uuid.UUID, n int) {
	s.t.Helper()
	for range n {
		servicetest.Exec(s.t, s.kit.Pool, `insert into passkeys (id, account_id, name, credential_id, credential) values ($1, $2, 'x', $3, '{}')`,
			uuid.New(), account, []byte(uuid.NewString()))
	}
}

func TestPasskeysAreBounded(t *testing.T) {
	s := newShop(t)
	ann := s.signIn(address)
	s.plantPasskeys(*ann.AccountID, mostPasskeys)
	if a := s.Do(http.MethodPost, "/v1/accounts/me/passkey/begin", "", bearer(ann)...); !isProblem(a, http.StatusConflict, "too_many_passkeys") {
		t.Errorf("one more: %d %s", a.Status, a.Body)
	}
}

// Who finds a browser open gets no way in of his own.
func TestWaysInAreChangedByWhoJustSignedIn(t *testing.T) {
	s := newShop(t)
	ann := s.signIn(address)
	s.plantPasskeys(*ann.AccountID, 1)
	servicetest.Exec(t, s.kit.Pool, `update sessions set created_at = created_at - $1::interval`, recently)
	id := uuid.NewString()
	for _, r := range []string{
		"POST /v1/accounts/me/passkey/begin", "DELETE /v1/accounts/me/passkeys/" + id,
		"POST /v1/accounts/me/openid/begin", "DELETE /v1/accounts/me/links/" + id,
	} {
		method, path, _ := strings.Cut(r, " ")
		text := ""
		if strings.Contains(path, "openid") {
			text = `{"provider":"x"}`
		}
		if a := s.Do(method, path, text, bearer(ann)...); !isProblem(a, http.StatusForbidden, "sign_in_again") {
			t.Errorf("%s: %d %s", r, a.Status, a.Body)
		}
	}
	again := s.signInAgain(address, pass)
	if a := s.Do(http.MethodDelete, "/v1/accounts/me/passkeys/"+id, "", bearer(again)...); !isProblem(a, http.StatusNotFound, "passkey_not_found") {
		t.Errorf("signed in again: %d %s", a.Status, a.Body)
	}
}

func TestTheLastWayInStays(t *testing.T) {
	s := newShop(t)
	ann := s.signIn(address)
	s.plantPasskeys(*ann.AccountID, 2)
	servicetest.Exec(t, s.kit.Pool, `update accounts set password = null`)
	list := decode[struct{ Passkeys []passkeyView }](t, s.Do(http.MethodGet, "/v1/accounts/me/passkeys", "", bearer(ann)...)).Passkeys
	if len(list) != 2 {
		t.Fatalf("listed %+v", list)
	}
	remove := func(k passkeyView) servicetest.Answer {
		return s.Do(http.MethodDelete, fmt.Sprint("/v1/accounts/me/passkeys/", k.ID), "", bearer(ann)...)
	}
	if a := remove(list[0]); a.Status != http.StatusNoContent {
		t.Errorf("the first: %d %s", a.Status, a.Body)
	}
	if a := remove(list[1]); !isProblem(a, http.StatusConflict, "last_way_in") {
		t.Errorf("the last: %d %s", a.Status, a.Body)
	}
	if a := remove(list[0]); !isProblem(a, http.StatusNotFound, "passkey_not_found") {
		t.Errorf("the first again: %d %s", a.Status, a.Body)
	}
}
