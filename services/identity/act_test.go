package identity

import (
	"net/http"
	"slices"
	"testing"

	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/token"
)

func TestOperatorsActInSomebodysName(t *testing.T) {
	s := newShop(t)
	a := s.operators.Do(http.MethodPost, "/v1/access-tokens", `{"subject":"customer-17850","company":"acme","scopes":["checkout:prices"]}`)
	if a.Status != http.StatusCreated {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	got := decode[tokens](t, a)
	c, err := token.NewVerifier(issuer, s.server.keys).Verify(t.Context(), got.AccessToken)
	if err != nil || c.ID != "customer-17850" || c.Company != "acme" || !slices.Equal(c.Scopes, []string{caller.ScopePrices}) {
		t.Errorf("the token is of %+v, %v", c, err)
	}
	if got.RefreshToken != "" || got.ExpiresIn != int(token.TTL.Seconds()) {
		t.Errorf("%+v, want five minutes and nothing to refresh them", got)
	}
	for body, field := range map[string]string{`{"subject":"a b"}`: "subject", `{}`: "subject", `{"subject":"a","company":"b c"}`: "company"} {
		if a := s.operators.Do(http.MethodPost, "/v1/access-tokens", body); a.Status != http.StatusBadRequest || a.Problem().Field != field {
			t.Errorf("%s: %d %s", body, a.Status, a.Body)
		}
	}
	if a := s.Do(http.MethodPost, "/v1/access-tokens", `{"subject":"a"}`); a.Status != http.StatusNotFound {
		t.Errorf("the public port answers %d", a.Status)
	}
}
