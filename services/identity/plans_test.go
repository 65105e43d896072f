package identity

import (
	"fmt"
	"net/http"
	"testing"

	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
)

var history = []string{
	`insert into accounts (id, login, scopes, created_at)
		select gen_random_uuid(), sha256(i::text::bytea), '{}', now() from generate_series(1, 20000) i`,
	`insert into sessions (id, account_id, token_hash, generation, exchanges, created_at, used_at, expires_at)
		select gen_random_uuid(), id, '', 0, '{}', now(), now(), now() + interval '30 d' from accounts`,
	`insert into clients (id, name, secret_hash, scopes, created_at)
		select gen_random_uuid(), 'c', '', '{}', now() from generate_series(1, 20000) i`,
	`insert into customer_groups (customer_id, groups, version) select id::text, '{trade}', 1 from accounts`,
	`insert into attempts (key, count, since) select sha256(i::text::bytea), 1, now() from generate_series(1, 20000) i`,
}

func TestPlans(t *testing.T) {
	indexes := []string{"accounts_pkey", "accounts_login_key", "sessions_pkey", "sessions_by_account", "sessions_not_ended", "sessions_by_expiry", "clients_pkey", "attempts_pkey", "attempts_by_time", "customer_groups_pkey"}
	servicetest.CheckPlans(t, Service(), history, indexes, func(t *testing.T, kit *service.Kit) {
		s := newShopOn(t, kit, nil)
		got := s.refreshed(s.signIn(address).RefreshToken)
		s.Do(http.MethodGet, "/v1/sessions", "", bearer(got)...)
		s.Do(http.MethodDelete, "/v1/sessions/"+got.SessionID.String(), "", bearer(got)...)
		s.Do(http.MethodDelete, "/v1/sessions", "", bearer(got)...)
		s.Do(http.MethodPut, "/v1/accounts/me/password", `{"current_password":"`+pass+`","new_password":"battery staple"}`, bearer(got)...)
		s.form("/v1/tokens", nil, "grant_type", "client_credentials", "client_id", got.AccountID.String())
		if _, err := s.server.forgetExpired(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// While the next version adds its columns, people register, sign in, refresh and sign out.
func TestNewColumnsDoNotDisturb(t *testing.T) {
	s := newShop(t)
	earlier := s.signIn(address)
	n := 0
	servicetest.CheckUpgrade(t, s.kit.Pool, func() {
		n++
		s.signIn(fmt.Sprintf("n%d@example.com", n))
		earlier = s.refreshed(earlier.RefreshToken)
		if a := s.Do(http.MethodGet, "/v1/sessions", "", bearer(earlier)...); a.Status != http.StatusOK {
			t.Errorf("sessions: %d %s", a.Status, a.Body)
		}
		s.server.keys.forget()
		if _, err := s.server.keys.keep(t.Context(), false); err != nil {
			t.Error(err)
		}
	})
}

// What has expired is forgotten, and nothing else.
func TestWhatHasExpiredIsForgotten(t *testing.T) {
	s := newShop(t)
	old, kept := s.signIn(address), s.signInAgain(address, pass)
	servicetest.Exec(t, s.kit.Pool, `update sessions set created_at = now() - interval '40 d', used_at = now() - interval '40 d', expires_at = now() - interval '2 d' where id = $1`, old.SessionID)
	servicetest.Exec(t, s.kit.Pool, `update attempts set since = since - interval '2 d'`)
	if a := s.refresh(old.RefreshToken); a.Status != http.StatusBadRequest {
		t.Errorf("an expired session goes on: %d %s", a.Status, a.Body)
	}
	if _, err := s.server.forgetExpired(t.Context()); err != nil {
		t.Fatal(err)
	}
	var sessions, attempts int
	if err := s.kit.Pool.QueryRow(t.Context(), `select (select count(*) from sessions), (select count(*) from attempts)`).Scan(&sessions, &attempts); err != nil || sessions != 1 || attempts != 0 {
		t.Errorf("%d sessions and %d counts are left, %v", sessions, attempts, err)
	}
	s.refreshed(kept.RefreshToken)
}
