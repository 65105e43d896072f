package identity

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events/identity"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/servicetest"
)

const newPass = "battery staple"

// mailing is a shop whose mail goes to a mailbox.
type mailing struct {
	*shop
	box *mailbox
}

func newMailing(t *testing.T) mailing {
	t.Helper()
	box := startMailbox(t)
	m := mailing{newShopWith(t, map[string]string{"QUADRILLE_MAIL_URL": box.smtp, "QUADRILLE_MAIL_KEY": box.Key}), box}
	servicetest.Run(t, m.server.mails.sweep.Run)
	return m
}

func (s *shop) ask(address string) servicetest.Answer {
	s.t.Helper()
	return s.Do(http.MethodPost, "/v1/accounts/reset/begin", body(map[string]string{"email": address}))
}

func (s *shop) setBy(token, password string) servicetest.Answer {
	s.t.Helper()
	return s.Do(http.MethodPost, "/v1/accounts/reset/finish", body(map[string]string{"token": token, "new_password": password}))
}

func body(v any) string {
	text, _ := json.Marshal(v) // texts
	return string(text)
}

// hurry has all mails be due.
func (m mailing) hurry() {
	m.t.Helper()
	servicetest.Exec(m.t, m.kit.Pool, `update mails set due_at = now()`)
	m.server.mails.sweep.Wake()
}

func (s *shop) count(sql string, args ...any) (n int) {
	s.t.Helper()
	if err := s.kit.Pool.QueryRow(context.Background(), sql, args...).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// putOff waits until an attempt to send each mail has failed. One that is being sent is due again
// half a minute after it was taken up, one that failed after 5 or 10 s.
func (m mailing) putOff() {
	m.t.Helper()
	servicetest.Await(m.t, "the mail is put off", func() bool {
		return m.count(`select count(*) from mails where attempts = 0 or due_at > now() + interval '15 seconds'`) == 0
	})
}

// settled waits until no mail is left.
func (m mailing) settled() {
	m.t.Helper()
	servicetest.Await(m.t, "no mail is left", func() bool { return m.count(`select count(*) from mails`) == 0 })
}

var tokenInMail = regexp.MustCompile(`#token=([A-Z2-7]+)`)

// mailed asks for a token and returns the one that arrives.
func (m mailing) mailed(address string) string {
	m.t.Helper()
	had := len(m.box.mails(address))
	if a := m.ask(address); a.Status != http.StatusAccepted {
		m.t.Fatalf("ask: %d %s", a.Status, a.Body)
	}
	m.settled()
	all := m.box.mails(address)
	if len(all) != had+1 {
		m.t.Fatalf("%d mails to %s, want %d", len(all), address, had+1)
	}
	return tokenOf(m.t, all[had])
}

func tokenOf(t *testing.T, r received) string {
	t.Helper()
	found := tokenInMail.FindStringSubmatch(r.Text)
	if found == nil {
		t.Fatalf("no token in %q", r.Text)
	}
	return found[1]
}

func TestANewPasswordByMail(t *testing.T) {
	m := newMailing(t)
	was := m.signIn(address)
	token := m.mailed(address)

	if a := m.setBy(token, "short"); !isProblem(a, http.StatusBadRequest, "out_of_range") {
		t.Errorf("a password that is too short: %d %s", a.Status, a.Body)
	}
	if a := m.setBy(token, newPass); a.Status != http.StatusNoContent {
		t.Fatalf("set it: %d %s", a.Status, a.Body)
	}
	if a := m.login(address, pass); a.Status != http.StatusUnauthorized {
		t.Errorf("the old password: %d %s", a.Status, a.Body)
	}
	m.signInAgain(address, newPass)
	if a := m.refresh(was.RefreshToken); a.Status == http.StatusOK {
		t.Error("a session from before goes on")
	}
	if got := m.revoked(*was.AccountID); !slices.Equal(got, []string{identity.ReasonPassword}) {
		t.Errorf("told of %q", got)
	}
	if a := m.setBy(token, "once more, please"); !isProblem(a, http.StatusConflict, "token_void") {
		t.Errorf("the token again: %d %s", a.Status, a.Body)
	}
}

// The second waits for the first, and finds the token gone.
func TestATokenServesOnceThoughUsedAtOnce(t *testing.T) {
	m := newMailing(t)
	m.signIn(address)
	token := m.mailed(address)
	second := make(chan error, 1)
	err := m.server.outbox.InTx(t.Context(), func(ctx context.Context, tx *outbox.Tx) error {
		if err := m.server.mails.use(ctx, tx, token, "a hash"); err != nil {
			return err
		}
		go func() { second <- m.server.outboxUse(t, token) }()
		servicetest.Await(t, "the second waits", func() bool {
			return m.count(`select count(*) from pg_locks where not granted and database = (select oid from pg_database where datname = current_database())`)+
				m.count(`select count(*) from pg_locks where not granted and locktype = 'transactionid'`) > 0
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-second; codeOf(err) != "token_void" {
		t.Errorf("the second: %v", err)
	}
}

func TestTokensThatAreVoid(t *testing.T) {
	m := newMailing(t)
	account := *m.signIn(address).AccountID
	sec, err := m.server.vault.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		sql  string
		args []any
	}{
		{"expired", `update reset_tokens set expires_at = now()`, nil},
		{"the address of the account was changed", `update accounts set login = $1`, []any{sec.login("ann@elsewhere.example")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			token := m.mailed(address)
			servicetest.Exec(t, m.kit.Pool, c.sql, c.args...)
			if a := m.setBy(token, newPass); !isProblem(a, http.StatusConflict, "token_void") {
				t.Errorf("%d %s", a.Status, a.Body)
			}
			// The check before the hash is not what it rests on.
			err := m.server.outboxUse(t, token)
			if codeOf(err) != "token_void" {
				t.Errorf("in the transaction: %v", err)
			}
		})
	}
	if n := m.count(`select count(*) from accounts where id = $1 and verified_at is not null`, account); n != 0 {
		t.Error("a void token has verified the address")
	}
	if a := m.setBy("made up", newPass); !isProblem(a, http.StatusConflict, "token_void") {
		t.Errorf("a token that was made up: %d %s", a.Status, a.Body)
	}
}

func TestATokenIsNowhereButInTheMail(t *testing.T) {
	m := newMailing(t)
	m.signIn(address)
	token := m.mailed(address)
	if n := m.count(`select count(*) from reset_tokens t where t::text like '%' || $1 || '%'`, token); n != 0 {
		t.Error("the table has the token itself")
	}
	m.box.mode(`{"mode":"down"}`)
	m.ask(address)
	if n := m.count(`select count(*) from mails`); n != 1 {
		t.Fatalf("%d mails, want one", n)
	}
	for _, text := range []string{address, hexOf([]byte(address))} {
		if n := m.count(`select count(*) from mails m where m::text like '%' || $1 || '%'`, text); n != 0 {
			t.Errorf("the table has the address in the clear: %s", text)
		}
	}
}

func TestNobodyIsToldWhetherThereIsAnAccount(t *testing.T) {
	m := newMailing(t)
	m.signIn(address)
	known, unknown := m.ask(address), m.ask("nobody@example.com")
	if known.Status != unknown.Status || known.Body != unknown.Body {
		t.Errorf("answered %d %s and %d %s", known.Status, known.Body, unknown.Status, unknown.Body)
	}
	m.settled()
	if n := len(m.box.mails("nobody@example.com")); n != 0 {
		t.Errorf("%d mails to somebody without an account", n)
	}
	if n := len(m.box.mails(address)); n != 1 {
		t.Errorf("%d mails to somebody with an account", n)
	}
}

// The request runs the same statements for both, so that its time says nothing: what it
// does must not depend on accounts at all.
func TestAskingDoesNotLookForTheAccount(t *testing.T) {
	s := newShop(t)
	tx, err := s.kit.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background()) //nolint:errcheck // it only reads
	if _, err := tx.Exec(t.Context(), `lock table accounts in access exclusive mode`); err != nil {
		t.Fatal(err)
	}
	if a := s.ask(address); a.Status != http.StatusAccepted {
		t.Errorf("asked while nobody can look into accounts: %d %s", a.Status, a.Body)
	}
}

func TestAMailIsSentThoughTheProviderMisbehaves(t *testing.T) {
	for _, c := range []struct {
		mode  string
		least int // mails that arrive
	}{
		{"flaky", 1}, {"down", 1}, {"fail_after", 2}, {"lose_reply", 2},
	} {
		t.Run(c.mode, func(t *testing.T) {
			m := newMailing(t)
			m.signIn(address)
			m.box.mode(`{"mode":"` + c.mode + `","count":1}`)
			m.ask(address)
			m.putOff()
			m.hurry()
			m.settled()
			all := m.box.mails(address)
			if len(all) != c.least {
				t.Fatalf("%d mails, want %d", len(all), c.least)
			}
			for _, r := range all {
				if r.MessageID != all[0].MessageID {
					t.Errorf("sent again as %s, at first %s", r.MessageID, all[0].MessageID)
				}
			}
			// Whichever of them is read first, it serves.
			if a := m.setBy(tokenOf(t, all[0]), newPass); a.Status != http.StatusNoContent {
				t.Errorf("the first mail's token: %d %s", a.Status, a.Body)
			}
		})
	}
}

func TestAMailIsGivenUp(t *testing.T) {
	m := newMailing(t)
	const refused = "mail-refuse-1@example.com"
	m.signIn(refused)
	m.ask(refused)
	m.settled()

	m.signIn(address)
	m.box.mode(`{"mode":"flaky"}`)
	m.ask(address)
	m.putOff()
	servicetest.Exec(t, m.kit.Pool, `update mails set created_at = created_at - $1::interval`, linkLife+time.Minute)
	m.box.mode(`{"mode":"ok"}`)
	m.hurry()
	m.settled()
	if n := len(m.box.mails(address)); n != 0 {
		t.Errorf("%d mails arrived half an hour late", n)
	}
}

func TestAMailboxIsNotFlooded(t *testing.T) {
	s := newShop(t)
	for range perMailbox.most {
		if a := s.ask(address); a.Status != http.StatusAccepted {
			t.Fatalf("ask: %d %s", a.Status, a.Body)
		}
	}
	if a := s.ask(strings.ToUpper(address)); !isProblem(a, http.StatusTooManyRequests, "too_many_attempts") {
		t.Errorf("once more: %d %s", a.Status, a.Body)
	}
}

// plantWaysIn gives an account a passkey and a link that nobody has.
func (s *shop) plantWaysIn(account uuid.UUID) {
	s.t.Helper()
	s.plantPasskeys(account, 1)
	servicetest.Exec(s.t, s.kit.Pool, `insert into openid_links (id, account_id, provider, issuer, subject) values ($1, $2, 'x', 'x', $3)`,
		uuid.New(), account, uuid.NewString())
}

// Somebody who registers another's address can add ways in of his own, and wait for the
// owner. The owner's first proof of the mailbox ends them; later ones leave the owner's own.
func TestTheOwnerOfTheMailboxGetsTheAccountAlone(t *testing.T) {
	m := newMailing(t)
	account := *m.signIn(address).AccountID
	waysIn := func() int {
		return m.count(`select (select count(*) from passkeys) + (select count(*) from openid_links)`)
	}
	plant := func() { m.plantWaysIn(account) }
	plant()
	m.setBy(m.mailed(address), newPass)
	if n := waysIn(); n != 0 {
		t.Errorf("%d ways in of who had the account before are left", n)
	}
	plant()
	m.setBy(m.mailed(address), newPass)
	if n := waysIn(); n != 2 {
		t.Errorf("%d ways in of the owner are left, want 2", n)
	}
}

func TestTokensThatExpiredAreDeleted(t *testing.T) {
	m := newMailing(t)
	m.signIn(address)
	m.mailed(address)
	servicetest.Exec(t, m.kit.Pool, `update reset_tokens set expires_at = now()`)
	m.mailed(address)
	if _, err := m.server.mails.prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := m.count(`select count(*) from reset_tokens`); n != 1 {
		t.Errorf("%d tokens, want one", n)
	}
}

func TestMailWaits(t *testing.T) {
	for attempts, want := range map[int]time.Duration{1: 5 * time.Second, 2: 10 * time.Second, 6: 160 * time.Second, 7: maxMailWait, 1000: maxMailWait} {
		if got := mailWait(attempts); got != want {
			t.Errorf("after attempt %d: %s, want %s", attempts, got, want)
		}
	}
}

// outboxUse uses a token as the route does, without the check before it.
func (s *server) outboxUse(t *testing.T, token string) error {
	return s.outbox.InTx(t.Context(), func(ctx context.Context, tx *outbox.Tx) error { return s.mails.use(ctx, tx, token, "a hash") })
}
