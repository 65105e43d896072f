package identity

import (
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"quadrille.internal/events/identity"
	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/config"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/seal"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/platform/telemetry"
	"quadrille.internal/platform/token"
)

const (
	master  = "a secret of the tests of identity"
	issuer  = "https://shop.example"
	address = "ann@example.com"
	pass    = "correct horse"
)

// cheap is a cost that tests can wait for.
var cheap = cost{memory: 64, passes: 1, lanes: 1}

// shop is identity in a test: its routes as callers reach them.
type shop struct {
	*servicetest.Client
	t         *testing.T
	kit       *service.Kit
	server    *server
	operators *servicetest.Client
}

func newShop(t *testing.T) *shop { return newShopWith(t, nil) }

// serverOf returns the server on a database, with settings of its own.
func serverOf(t *testing.T, kit *service.Kit, more map[string]string) *server {
	t.Helper()
	settings := map[string]string{seal.Setting: strings.Repeat("0a", 32), "QUADRILLE_ISSUER": issuer, "QUADRILLE_MAIL_KEY": "k"}
	maps.Copy(settings, more)
	kit.Config = config.NewReader(func(name string) (string, bool) {
		v, ok := settings[name]
		return v, ok
	})
	kit.Metrics = telemetry.NewMetrics("identity") // a replica of its own
	kit.API = rest.API{Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	s := newServer(kit)
	if err := kit.Config.Err(); err != nil {
		t.Fatal(err)
	}
	s.hasher = newHasher(cheap, 1)
	return s
}

// newShopWith has settings of its own.
func newShopWith(t *testing.T, more map[string]string) *shop {
	t.Helper()
	return newShopOn(t, servicetest.NewKit(t, Service()), more)
}

func newShopOn(t *testing.T, kit *service.Kit, more map[string]string) *shop {
	t.Helper()
	s := serverOf(t, kit, more)
	if _, err := s.keys.keep(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	guard := &caller.Guard{Verifier: token.NewVerifier(issuer, s.keys)}
	return &shop{
		Client: servicetest.Serve(t, func(r chi.Router) {
			s.routes(r.With(guard.Handler))
			s.openRoutes(r.With(guard.Open))
		}),
		t: t, kit: kit, server: s, operators: servicetest.Serve(t, s.operatorRoutes),
	}
}

// register has a mail sent to who wants an account.
func (s *shop) register(address string) servicetest.Answer {
	s.t.Helper()
	return s.Do(http.MethodPost, "/v1/accounts", body(map[string]string{"email": address}))
}

func (s *shop) login(address, password string) servicetest.Answer {
	s.t.Helper()
	return s.Do(http.MethodPost, "/v1/sessions", credentialsOf(address, password))
}

// signIn makes an account and a session.
func (s *shop) signIn(address string) tokens {
	s.t.Helper()
	if a := s.operators.Do(http.MethodPost, "/v1/accounts/provision", credentialsOf(address, pass)); a.Status/100 != 2 {
		s.t.Fatalf("make an account: %d %s", a.Status, a.Body)
	}
	return s.signInAgain(address, pass)
}

func (s *shop) signInAgain(address, password string) tokens {
	s.t.Helper()
	a := s.login(address, password)
	if a.Status != http.StatusCreated {
		s.t.Fatalf("sign in: %d %s", a.Status, a.Body)
	}
	return decode[tokens](s.t, a)
}

// form sends a form to the token endpoints.
func (s *shop) form(path string, header []string, pairs ...string) servicetest.Answer {
	s.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return s.Do(http.MethodPost, path, form.Encode(), append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)...)
}

func (s *shop) refresh(refreshToken string) servicetest.Answer {
	s.t.Helper()
	return s.form("/v1/tokens", nil, "grant_type", "refresh_token", "refresh_token", refreshToken)
}

// refreshed is refresh that must succeed.
func (s *shop) refreshed(refreshToken string) tokens {
	s.t.Helper()
	a := s.refresh(refreshToken)
	if a.Status != http.StatusOK {
		s.t.Fatalf("refresh: %d %s", a.Status, a.Body)
	}
	return decode[tokens](s.t, a)
}

// age moves what a session did into the past.
func (s *shop) age(session uuid.UUID, by time.Duration) {
	s.t.Helper()
	servicetest.Exec(s.t, s.kit.Pool, `update sessions set exchanges = array(select at - $2::interval from unnest(exchanges) at) where id = $1`, session, by)
}

// revoked are the revocations of an account that were told, as reasons.
func (s *shop) revoked(account uuid.UUID) (reasons []string) {
	s.t.Helper()
	for _, e := range servicetest.EmittedAbout(s.t, s.kit.Pool, account.String()) {
		reasons = append(reasons, e.(*identity.SessionRevoked).Reason)
	}
	return reasons
}

func credentialsOf(address, password string) string {
	b, _ := json.Marshal(credentials{address, password}) // texts
	return string(b)
}

func decode[T any](t *testing.T, a servicetest.Answer) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.Body), &v); err != nil {
		t.Fatalf("%d %s: %v", a.Status, a.Body, err)
	}
	return v
}

func bearer(t tokens) []string { return []string{"Authorization", "Bearer " + t.AccessToken} }

func isProblem(a servicetest.Answer, status int, code string) bool {
	return a.Status == status && a.Problem().Code == code && strings.HasPrefix(a.Header.Get("Content-Type"), "application/problem+json")
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }
