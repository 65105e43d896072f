package identity

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-chi/chi/v5"
	"golang.org/x/oauth2/clientcredentials"

	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/token"
)

// A client of OAuth and one of OpenID that know nothing of us get a token, and verify it by
// what the discovery document says.
func TestOtherPeoplesClientsUnderstandUs(t *testing.T) {
	s := newShop(t)
	r := chi.NewRouter()
	rest.Fallbacks(r)
	s.server.openRoutes(r)
	server := httptest.NewServer(r)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	s.server.issuer = server.URL
	created := s.operators.Do(http.MethodPost, "/v1/clients", `{"name":"erp","scopes":["operator","checkout:prices"],"company":"acme"}`)
	client := decode[struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}](t, created)
	if created.Status != http.StatusCreated || client.Secret == "" {
		t.Fatalf("create: %d %s", created.Status, created.Body)
	}
	provider, err := oidc.NewProvider(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	config := clientcredentials.Config{ClientID: client.ID, ClientSecret: client.Secret, TokenURL: provider.Endpoint().TokenURL, Scopes: []string{"checkout:prices"}}
	got, err := config.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	verified, err := provider.Verifier(&oidc.Config{ClientID: "quadrille", SupportedSigningAlgs: []string{oidc.EdDSA}}).Verify(t.Context(), got.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Scope   string   `json:"scope"`
		Company string   `json:"company"`
		Groups  []string `json:"groups"`
	}
	if err := verified.Claims(&claims); err != nil {
		t.Fatal(err)
	}
	if verified.Subject != client.ID || claims.Scope != "checkout:prices" || claims.Company != "acme" || len(claims.Groups) > 0 {
		t.Errorf("the token is of %s and claims %+v", verified.Subject, claims)
	}
	config.Scopes = []string{"approver"}
	if _, err := config.Token(t.Context()); err == nil || !strings.Contains(err.Error(), "invalid_scope") {
		t.Errorf("a scope that the client has not: %v", err)
	}
	config.Scopes, config.ClientSecret = nil, "wrong"
	if _, err := config.Token(t.Context()); err == nil || !strings.Contains(err.Error(), "invalid_client") {
		t.Errorf("a wrong secret: %v", err)
	}
	if a := s.operators.Do(http.MethodDelete, "/v1/clients/"+client.ID, ""); a.Status != http.StatusNoContent {
		t.Errorf("delete: %d %s", a.Status, a.Body)
	}
	config.ClientSecret = client.Secret
	if _, err := config.Token(t.Context()); err == nil || !strings.Contains(err.Error(), "invalid_client") {
		t.Errorf("a deleted client: %v", err)
	}
}

// Refusals of the token endpoint are problems that clients of OAuth understand.
func TestRefusalsOfTheTokenEndpoint(t *testing.T) {
	s := newShop(t)
	for name, c := range map[string]struct {
		pairs  []string
		header []string
		status int
		code   string
	}{
		"no grant type":          {nil, nil, 400, "unsupported_grant_type"},
		"a grant type of others": {[]string{"grant_type", "password"}, nil, 400, "unsupported_grant_type"},
		"no refresh token":       {[]string{"grant_type", "refresh_token"}, nil, 400, "invalid_grant"},
		"nonsense":               {[]string{"grant_type", "refresh_token", "refresh_token", "x"}, nil, 400, "invalid_grant"},
		"no client":              {[]string{"grant_type", "client_credentials"}, nil, 401, "invalid_client"},
		"a client that is none":  {[]string{"grant_type", "client_credentials", "client_id", "0190a5f0-0000-7000-8000-000000000001", "client_secret", "x"}, nil, 401, "invalid_client"},
		"JSON":                   {nil, []string{"Content-Type", "application/json"}, 415, "media_type"},
		"very long":              {[]string{"grant_type", strings.Repeat("x", maxForm)}, nil, 413, "body_too_large"},
	} {
		a := s.form("/v1/tokens", c.header, c.pairs...)
		var oauth struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
		}
		_ = json.Unmarshal([]byte(a.Body), &oauth)
		if !isProblem(a, c.status, c.code) || c.status < 402 && (oauth.Error != c.code || oauth.Description == "") {
			t.Errorf("%s: %d %s, want %d %s", name, a.Status, a.Body, c.status, c.code)
		}
	}
	if a := s.Do(http.MethodPost, "/v1/tokens", "grant_type=refresh_token&grant_type=password", "Content-Type", "application/x-www-form-urlencoded"); !isProblem(a, 400, "repeated") {
		t.Errorf("a parameter twice: %d %s", a.Status, a.Body)
	}
}

// Roles are given by operators, and in the next access token. What a person sends changes none.
func TestRoles(t *testing.T) {
	s := newShop(t)
	person := s.signIn(address)
	if a := s.Do(http.MethodPost, "/v1/accounts", `{"email":"eve@example.com","scopes":["operator"]}`); !isProblem(a, 400, "unknown_field") {
		t.Errorf("registering with a scope: %d %s", a.Status, a.Body)
	}
	path := "/v1/accounts/" + person.AccountID.String() + "/roles"
	if a := s.Do(http.MethodPut, path, `{"scopes":["operator"]}`, bearer(person)...); a.Status != http.StatusNotFound {
		t.Errorf("giving a role to oneself: %d %s", a.Status, a.Body)
	}
	for body, code := range map[string]string{
		`{"scopes":["a b"]}`: "malformed", `{"scopes":["a:b:c"]}`: "malformed", `{"company":"a/b"}`: "malformed",
		`{"scopes":["` + strings.Join(make([]string, maxRoles+1), `","`) + `x"]}`: "out_of_range",
		`{"groups":["vip"]}`: "unknown_field", // customer says them
	} {
		if a := s.operators.Do(http.MethodPut, path, body); !isProblem(a, 400, code) {
			t.Errorf("%s: %d %s, want %s", body, a.Status, a.Body, code)
		}
	}
	if a := s.operators.Do(http.MethodPut, path, `{"scopes":["operator","approver","approver"],"company":"acme"}`); a.Status != http.StatusOK {
		t.Fatalf("set roles: %d %s", a.Status, a.Body)
	}
	fresh := s.refreshed(person.RefreshToken)
	c, err := (token.NewVerifier(issuer, s.server.keys)).Verify(t.Context(), fresh.AccessToken)
	if err != nil || !slices.Equal(c.Scopes, []string{"approver", "operator"}) || c.Company != "acme" || len(c.Groups) > 0 || c.Session != person.SessionID.String() {
		t.Errorf("the next token is of %+v, %v", c, err)
	}
	provision := `{"email":"op@example.com","password":"correct horse","scopes":["operator"]}`
	first, again := s.operators.Do(http.MethodPost, "/v1/accounts/provision", provision), s.operators.Do(http.MethodPost, "/v1/accounts/provision", provision)
	if first.Status != http.StatusCreated || again.Status != http.StatusOK || first.Body != again.Body {
		t.Errorf("provision: %d %s, then %d %s", first.Status, first.Body, again.Status, again.Body)
	}
	if got := s.signInAgain("op@example.com", pass); got.Scope != "operator" {
		t.Errorf("the operator's scope is %q", got.Scope)
	}
}
