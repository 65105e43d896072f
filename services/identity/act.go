package identity

import (
	"net/http"

	"quadrille.internal/events"
	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/rest"
)

// actAs answers an access token in somebody's name, for who operates the shop: an import of
// orders, a support case. The name need not be an account's. It ends with the token, since
// nothing refreshes it, and the log says that it was given.
func (s *server) actAs(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Subject string `json:"subject"`
		roles
	}
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	if err := events.CheckName("subject", req.Subject); err != nil {
		return err
	}
	if err := req.check(); err != nil {
		return err
	}
	answer, err := s.accessToken(r.Context(), caller.Caller{ID: req.Subject, Scopes: req.Scopes, Company: req.Company})
	if err != nil {
		return err
	}
	s.log.InfoContext(r.Context(), "an operator was given an access token in somebody's name",
		"subject", req.Subject, "company", req.Company, "scopes", req.Scopes)
	return rest.Write(w, http.StatusCreated, answer)
}
