package identity

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/rest"
)

// maxSent bounds what a provider may have sent the browser back with, in bytes.
const maxSent = 4 << 10

func (s *server) party(name string) (*relyingParty, error) {
	i := slices.IndexFunc(s.parties, func(p *relyingParty) bool { return p.cfg.Name == name })
	if i < 0 {
		return nil, fault.New(fault.NotFound, "provider_unknown", "There is no such provider; GET /v1/sessions/openid/providers lists them.")
	}
	return s.parties[i], nil
}

func (s *server) listProviders(w http.ResponseWriter, _ *http.Request) error {
	type view struct {
		Name string `json:"name"`
	}
	answer := struct {
		Providers []view `json:"providers"`
	}{make([]view, len(s.parties))}
	for i, p := range s.parties {
		answer.Providers[i] = view{p.cfg.Name}
	}
	return rest.Write(w, http.StatusOK, answer)
}

// beginOpenID sends somebody to a provider.
func (s *server) beginOpenID(w http.ResponseWriter, r *http.Request) error {
	if err := s.limits.take(r.Context(), w, perStart, addressOf(r, s.forwarded)); err != nil {
		return err
	}
	return s.sendToProvider(w, r, openIDSignIn, nil)
}

// beginLink sends somebody to a provider who has just signed in to his account.
func (s *server) beginLink(w http.ResponseWriter, r *http.Request) error {
	id, err := s.justSignedIn(r.Context())
	if err != nil {
		return err
	}
	return s.sendToProvider(w, r, openIDLink, &id)
}

func (s *server) sendToProvider(w http.ResponseWriter, r *http.Request, p purpose, account *uuid.UUID) error {
	var req struct {
		Provider string `json:"provider"`
	}
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	party, err := s.party(req.Provider)
	if err != nil {
		return err
	}
	to, a, err := party.begin(r.Context())
	if err != nil {
		return err
	}
	b, err := s.kept.begin(r.Context(), p, account, a)
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusCreated, struct {
		begun
		URL string `json:"authorization_url"`
	}{b, to})
}

// returned is what a shop's page was sent by a provider, and the secret that it kept.
type returned struct {
	Ceremony string `json:"ceremony"`
	State    string `json:"state"`
	Code     string `json:"code"`
	Issuer   string `json:"iss"`
}

// comeBack asks the provider who somebody is who was sent to it.
func (s *server) comeBack(w http.ResponseWriter, r *http.Request, p purpose, account *uuid.UUID) (party *relyingParty, who person, err error) {
	var req returned
	if _, err := rest.Decode(w, r, &req); err != nil {
		return nil, who, err
	}
	if len(req.Code) > maxSent || req.Code == "" {
		return nil, who, fault.Field("code", "out_of_range", "A code has 1 to %d bytes.", maxSent)
	}
	var a attempt
	if err := s.kept.take(r.Context(), p, account, req.Ceremony, &a); err != nil {
		return nil, who, err
	}
	if party, err = s.party(a.Provider); err != nil {
		return nil, who, err
	}
	who, err = party.finish(r.Context(), a, arrival{State: req.State, Code: req.Code, Issuer: req.Issuer})
	return party, who, err
}

// finishOpenID signs somebody in whom a provider knows.
func (s *server) finishOpenID(w http.ResponseWriter, r *http.Request) error {
	party, who, err := s.comeBack(w, r, openIDSignIn, nil)
	if err != nil {
		return err
	}
	login, err := s.links.loginOf(r.Context(), who)
	if err != nil {
		return err
	}
	var account uuid.UUID
	err = s.outbox.InTx(r.Context(), func(ctx context.Context, tx *outbox.Tx) error {
		account, err = s.links.accountOf(ctx, tx, party.cfg.Name, who, login)
		return err
	})
	if err != nil {
		return err
	}
	return s.enter(w, r, account)
}

// finishLink has a provider open the caller's account from now on.
func (s *server) finishLink(w http.ResponseWriter, r *http.Request) error {
	account, err := accountOf(r.Context())
	if err != nil {
		return err
	}
	party, who, err := s.comeBack(w, r, openIDLink, &account)
	if err != nil {
		return err
	}
	err = s.outbox.InTx(r.Context(), func(ctx context.Context, tx *outbox.Tx) error {
		if err := checkSession(ctx, tx, account); err != nil {
			return err
		}
		return s.links.add(ctx, tx, account, party.cfg.Name, who)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

type linkView struct {
	ID        uuid.UUID `json:"id"`
	Provider  string    `json:"provider"`
	CreatedAt time.Time `json:"created_at"`
}

func (s *server) listLinks(w http.ResponseWriter, r *http.Request) error {
	account, err := accountOf(r.Context())
	if err != nil {
		return err
	}
	list, err := s.links.list(r.Context(), s.pool, account)
	if err != nil {
		return err
	}
	answer := struct {
		Links []linkView `json:"links"`
	}{make([]linkView, len(list))}
	for i, l := range list {
		answer.Links[i] = linkView{l.ID, l.Provider, l.CreatedAt}
	}
	return rest.Write(w, http.StatusOK, answer)
}
