package identity

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
)

// federated is a shop that lets people sign in at a real provider.
type federated struct {
	*shop
	provider oidcProvider
}

func newFederated(t *testing.T) federated {
	t.Helper()
	p := startOIDCProvider(t)
	f := federated{newShopWith(t, map[string]string{
		"QUADRILLE_SHOP_URL":         shopPages,
		"QUADRILLE_OPENID_PROVIDERS": body([]openIDProvider{{"local", p.issuer, clientID, clientSecret}}),
	}), p}
	f.server.parties[0].http.Timeout = time.Minute // the provider has just started, beside other tests
	t.Cleanup(f.server.parties[0].http.CloseIdleConnections)
	return f
}

type sentTo struct {
	Ceremony string `json:"ceremony"`
	URL      string `json:"authorization_url"`
}

func (f federated) begin(path string, header ...string) sentTo {
	f.t.Helper()
	a := f.Do(http.MethodPost, path, `{"provider":"local"}`, header...)
	if a.Status != http.StatusCreated {
		f.t.Fatalf("%s: %d %s", path, a.Status, a.Body)
	}
	return decode[sentTo](f.t, a)
}

func (f federated) finish(path string, s sentTo, q url.Values, header ...string) servicetest.Answer {
	f.t.Helper()
	return f.Do(http.MethodPost, path, body(returned{s.Ceremony, q.Get("state"), q.Get("code"), q.Get("iss")}), header...)
}

// enterAs signs somebody in whom the provider knows.
func (f federated) enterAs(name string) servicetest.Answer {
	f.t.Helper()
	s := f.begin("/v1/sessions/openid/begin")
	return f.finish("/v1/sessions/openid/finish", s, f.provider.signIn(s.URL, name))
}

// linkAs has somebody at the provider open an account.
func (f federated) linkAs(name string, who tokens) servicetest.Answer {
	f.t.Helper()
	s := f.begin("/v1/accounts/me/openid/begin", bearer(who)...)
	return f.finish("/v1/accounts/me/openid/finish", s, f.provider.signIn(s.URL, name), bearer(who)...)
}

func (f federated) links(who tokens) []linkView {
	f.t.Helper()
	return decode[struct{ Links []linkView }](f.t, f.Do(http.MethodGet, "/v1/accounts/me/links", "", bearer(who)...)).Links
}

func TestSignInByAProvider(t *testing.T) {
	f := newFederated(t)
	a := f.Do(http.MethodGet, "/v1/sessions/openid/providers", "")
	if a.Status != http.StatusOK || a.Body != `{"providers":[{"name":"local"}]}`+"\n" {
		t.Fatalf("providers: %d %s", a.Status, a.Body)
	}
	first := f.enterAs("ann")
	if first.Status != http.StatusCreated {
		t.Fatalf("sign in: %d %s", first.Status, first.Body)
	}
	again := f.enterAs("ann")
	ann, same := decode[tokens](t, first), decode[tokens](t, again)
	if *ann.AccountID != *same.AccountID || *ann.SessionID == *same.SessionID {
		t.Errorf("signed in to %s, then to %s", ann.AccountID, same.AccountID)
	}
	if other := decode[tokens](t, f.enterAs("bob")); *other.AccountID == *ann.AccountID {
		t.Error("two people have one account")
	}
	if list := f.links(ann); len(list) != 1 || list[0].Provider != "local" {
		t.Errorf("links: %+v", list)
	}
	if a := f.refresh(ann.RefreshToken); a.Status != http.StatusOK {
		t.Errorf("refresh: %d %s", a.Status, a.Body)
	}
	// Nobody else's, and the only way in.
	link := "/v1/accounts/me/links/" + f.links(ann)[0].ID.String()
	if a := f.Do(http.MethodDelete, link, "", bearer(f.signIn(address))...); !isProblem(a, http.StatusNotFound, "link_not_found") {
		t.Errorf("somebody else's link: %d %s", a.Status, a.Body)
	}
	if a := f.Do(http.MethodDelete, link, "", bearer(ann)...); !isProblem(a, http.StatusConflict, "last_way_in") {
		t.Errorf("the only way in: %d %s", a.Status, a.Body)
	}
}

// An account is never found by its address: who lets a provider say that he has it would
// get it.
func TestAnAddressDoesNotTakeAnAccountOver(t *testing.T) {
	f := newFederated(t)
	owner := *f.signIn("ann@shop.example").AccountID

	a := f.enterAs("unverified-ann")
	if a.Status != http.StatusCreated || *decode[tokens](t, a).AccountID == owner {
		t.Errorf("with an address that is not verified: %d %s", a.Status, a.Body)
	}
	if a := f.enterAs("ann"); !isProblem(a, http.StatusConflict, "account_exists") {
		t.Errorf("with one that is: %d %s", a.Status, a.Body)
	}
	if n := f.count(`select count(*) from openid_links where account_id = $1`, owner); n != 0 {
		t.Error("the account is linked though its owner did not sign in")
	}
	f.signInAgain("ann@shop.example", pass) // as before

	if a := f.linkAs("ann", f.signInAgain("ann@shop.example", pass)); a.Status != http.StatusNoContent {
		t.Fatalf("link: %d %s", a.Status, a.Body)
	}
	if a := f.enterAs("ann"); a.Status != http.StatusCreated || *decode[tokens](t, a).AccountID != owner {
		t.Errorf("once it is linked: %d %s", a.Status, a.Body)
	}
}

// Who began to link a provider and was signed out since then does not get to the end.
func TestWhoWasSignedOutLinksNothing(t *testing.T) {
	f := newFederated(t)
	thief := f.signIn(address)
	begun := f.begin("/v1/accounts/me/openid/begin", bearer(thief)...)
	back := f.provider.signIn(begun.URL, "ann")
	f.Do(http.MethodDelete, "/v1/sessions", "", bearer(f.signInAgain(address, pass))...)
	if a := f.finish("/v1/accounts/me/openid/finish", begun, back, bearer(thief)...); !isProblem(a, http.StatusUnauthorized, "session_ended") {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if n := f.count(`select count(*) from openid_links`); n != 0 {
		t.Errorf("%d providers are linked", n)
	}
}

func TestALinkIsOneAccounts(t *testing.T) {
	f := newFederated(t)
	ann, bob := f.signIn(address), f.signIn("bob@example.com")
	for range 2 {
		if a := f.linkAs("ann", ann); a.Status != http.StatusNoContent {
			t.Fatalf("link: %d %s", a.Status, a.Body)
		}
	}
	if a := f.linkAs("ann", bob); !isProblem(a, http.StatusConflict, "link_taken") {
		t.Errorf("the same person for another account: %d %s", a.Status, a.Body)
	}
	list := f.links(ann)
	if len(list) != 1 {
		t.Fatalf("links: %+v", list)
	}
	if a := f.Do(http.MethodDelete, "/v1/accounts/me/links/"+list[0].ID.String(), "", bearer(ann)...); a.Status != http.StatusNoContent {
		t.Errorf("remove: %d %s", a.Status, a.Body)
	}
	if a := f.linkAs("ann", bob); a.Status != http.StatusNoContent {
		t.Errorf("once it is free: %d %s", a.Status, a.Body)
	}
}

// A link that somebody else's page has begun must not end in this account, nor a sign-in in
// another's browser.
func TestAProvidersAnswerIsForWhoAsked(t *testing.T) {
	f := newFederated(t)
	ann, bob := f.signIn(address), f.signIn("bob@example.com")
	const finishLink, finishIn = "/v1/accounts/me/openid/finish", "/v1/sessions/openid/finish"

	s := f.begin("/v1/accounts/me/openid/begin", bearer(bob)...)
	q := f.provider.signIn(s.URL, "bob")
	if a := f.finish(finishLink, s, q, bearer(ann)...); !isProblem(a, http.StatusConflict, "ceremony_over") {
		t.Errorf("bob's ceremony in ann's session: %d %s", a.Status, a.Body)
	}
	if a := f.finish(finishIn, s, q); !isProblem(a, http.StatusConflict, "ceremony_over") {
		t.Errorf("a link as a sign-in: %d %s", a.Status, a.Body)
	}
	stolen := f.begin("/v1/sessions/openid/begin")
	if a := f.finish(finishIn, stolen, q); !isProblem(a, http.StatusUnauthorized, "sign_in_refused") {
		t.Errorf("another ceremony's state and code: %d %s", a.Status, a.Body)
	}
	if a := f.finish(finishIn, stolen, q); !isProblem(a, http.StatusConflict, "ceremony_over") {
		t.Errorf("a ceremony that went wrong, again: %d %s", a.Status, a.Body)
	}
	if a := f.finish(finishIn, sentTo{Ceremony: "made up"}, q); !isProblem(a, http.StatusConflict, "ceremony_over") {
		t.Errorf("a ceremony that was made up: %d %s", a.Status, a.Body)
	}
	late := f.begin("/v1/sessions/openid/begin")
	q = f.provider.signIn(late.URL, "ann")
	servicetest.Exec(t, f.kit.Pool, `update ceremonies set expires_at = now()`)
	if a := f.finish(finishIn, late, q); !isProblem(a, http.StatusConflict, "ceremony_over") {
		t.Errorf("after it expired: %d %s", a.Status, a.Body)
	}
}

func TestCeremoniesOfProvidersThatThereAreNot(t *testing.T) {
	s := newShop(t)
	if a := s.Do(http.MethodPost, "/v1/sessions/openid/begin", `{"provider":"local"}`); !isProblem(a, http.StatusNotFound, "provider_unknown") {
		t.Errorf("begin: %d %s", a.Status, a.Body)
	}
	if a := s.Do(http.MethodGet, "/v1/sessions/openid/providers", ""); a.Body != `{"providers":[]}`+"\n" {
		t.Errorf("providers: %d %s", a.Status, a.Body)
	}
}

func TestCeremoniesAreHashedForOnePurposeAndDeleted(t *testing.T) {
	s := newShop(t)
	b, err := s.server.kept.begin(t.Context(), passkeySignIn, nil, struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	if n := s.count(`select count(*) from ceremonies c where c::text like '%' || $1 || '%'`, hexOf([]byte(b.Secret))); n != 0 {
		t.Error("the table has the secret itself")
	}
	for _, other := range []purpose{openIDSignIn, openIDLink, passkeyAddition} {
		if err := s.server.kept.take(t.Context(), other, nil, b.Secret, new(struct{})); codeOf(err) != "ceremony_over" {
			t.Errorf("taken for %s: %v", other, err)
		}
	}
	servicetest.Exec(t, s.kit.Pool, `update ceremonies set expires_at = now()`)
	if _, err := s.server.kept.begin(t.Context(), passkeySignIn, nil, struct{}{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.server.kept.prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.count(`select count(*) from ceremonies`); n != 1 {
		t.Errorf("%d ceremonies are left, want the one that has not expired", n)
	}
}

// The plans of what is looked up for each sign-in do not grow with the tables.
func TestPlansOfWaysIn(t *testing.T) {
	fill := []string{
		`insert into accounts (id, login, scopes, created_at)
		select gen_random_uuid(), decode(md5(n::text), 'hex'), '{}', now() from generate_series(1, 2000) n`,
		`insert into ceremonies (secret_hash, purpose, data, expires_at)
		select decode(md5(n::text), 'hex'), 'x', '{}', now() + make_interval(secs => n) from generate_series(1, 2000) n`,
		`insert into passkeys (id, account_id, name, credential_id, credential)
		select gen_random_uuid(), id, 'x', login, '{}' from accounts`,
		`insert into openid_links (id, account_id, provider, issuer, subject)
		select gen_random_uuid(), id, 'x', 'https://x.example', id::text from accounts`,
		`insert into mails (id, address, due_at) select gen_random_uuid(), 'x', now() + make_interval(mins => n) from generate_series(1, 2000) n`,
		`insert into reset_tokens (token_hash, account_id, login, expires_at)
		select login, id, login, now() + interval '1 hour' from accounts`,
		`insert into mailed_tokens (token_hash, account_id, login, expires_at)
		select login, id, login, now() + interval '1 hour' from accounts`,
	}
	indexes := []string{
		"ceremonies_pkey", "ceremonies_by_expiry", "passkeys_by_account", "openid_links_by_account", "mails_by_due", "reset_tokens_pkey", "reset_tokens_by_expiry",
		"mailed_tokens_pkey", "mailed_tokens_by_expiry",
	}
	servicetest.CheckPlans(t, Service(), slices.Clone(fill), indexes, workOfWaysIn)
}

func workOfWaysIn(t *testing.T, kit *service.Kit) {
	s, ctx := serverOf(t, kit, nil), t.Context()
	id := uuid.New()
	steps := map[string]func() error{
		"begin": func() error { _, err := s.kept.begin(ctx, passkeySignIn, nil, nil); return err },
		"take": func() error {
			if err := s.kept.take(ctx, passkeySignIn, nil, "x", nil); codeOf(err) != "ceremony_over" {
				return err
			}
			return nil
		},
		"delete ceremonies": func() error { _, err := s.kept.prune(ctx); return err },
		"list passkeys":     func() error { _, err := s.passkeys.list(ctx, s.pool, id); return err },
		"list links":        func() error { _, err := s.links.list(ctx, s.pool, id); return err },
		"sign in": func() error {
			return s.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
				_, err := s.links.accountOf(ctx, tx, "x", person{"https://x.example", "x", address}, []byte("x"))
				return err
			})
		},
		"send":          func() error { _, err := s.mails.sendBatch(ctx); return err },
		"delete tokens": func() error { _, err := s.mails.prune(ctx); return err },
		"check a registration": func() error {
			if err := s.mails.serves(ctx, "x"); codeOf(err) != "token_void" {
				return err
			}
			return nil
		},
		"check": func() error {
			if err := s.mails.check(ctx, "x"); codeOf(err) != "token_void" {
				return err
			}
			return nil
		},
	}
	for name, step := range steps {
		if err := step(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
