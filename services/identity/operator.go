package identity

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/identity"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/rest"
)

// operatorRoutes are on the admin port: they say what somebody may do, and take keys back.
func (s *server) operatorRoutes(r chi.Router) {
	r.Post("/v1/accounts/provision", s.api.Handle(s.provision))
	r.Get("/v1/accounts/{id}", s.api.Handle(s.getAccount))
	r.Put("/v1/accounts/{id}/roles", s.api.Handle(s.putRoles))
	r.Delete("/v1/accounts/{id}/sessions", s.api.Handle(s.endSessions))
	r.Post("/v1/access-tokens", s.api.Handle(s.actAs))
	r.Post("/v1/clients", s.api.Handle(s.createClient))
	r.Delete("/v1/clients/{id}", s.api.Handle(s.removeClient))
	r.Get("/v1/keys", s.api.Handle(s.listKeys))
	r.Post("/v1/keys/rotate", s.api.Handle(s.rotateKeys))
	r.Post("/v1/keys/{key}/revoke", s.api.Handle(s.revokeKey))
}

// provision makes an account with roles, or tells operators which one the address has.
func (s *server) provision(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		credentials
		roles
	}
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	address, err := normalAddress(req.Email)
	if err != nil {
		return err
	}
	if err := checkPassword("password", req.Password); err != nil {
		return err
	}
	if err := req.check(); err != nil {
		return err
	}
	ctx := r.Context()
	id, added, err := s.addAccount(ctx, address, req.Password, req.roles)
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if !added { // as it is: neither its password nor its roles are changed
		sec, err := s.vault.open(ctx)
		if err != nil {
			return err
		}
		account, err := findLogin(ctx, s.pool, sec.login(address))
		if err != nil {
			return err
		}
		if account == nil {
			return noAccount()
		}
		id, status = account.ID, http.StatusOK
	}
	return rest.Write(w, status, struct {
		ID uuid.UUID `json:"id"`
	}{id})
}

func (s *server) getAccount(w http.ResponseWriter, r *http.Request) error {
	id, err := rest.PathID(r, "An account id is a UUID.")
	if err != nil {
		return err
	}
	return s.answerAccount(w, r, id)
}

// putRoles sets all roles. Access tokens say so from the next one on.
func (s *server) putRoles(w http.ResponseWriter, r *http.Request) error {
	id, err := rest.PathID(r, "An account id is a UUID.")
	if err != nil {
		return err
	}
	var req roles
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	if err := req.check(); err != nil {
		return err
	}
	found, err := setRoles(r.Context(), s.pool, id, req)
	if err != nil {
		return err
	}
	if !found {
		return noAccount()
	}
	return s.answerAccount(w, r, id)
}

func (s *server) endSessions(w http.ResponseWriter, r *http.Request) error {
	id, err := rest.PathID(r, "An account id is a UUID.")
	if err != nil {
		return err
	}
	return s.end(w, r, revocation{account: id, reason: identity.ReasonOperator})
}

// createClient answers the client's secret, once.
func (s *server) createClient(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Name string `json:"name"`
		roles
	}
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	if err := events.CheckName("name", req.Name); err != nil {
		return err
	}
	if err := req.check(); err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	secret := base64.RawURLEncoding.EncodeToString(randomBytes(secretSize))
	sum := sha256.Sum256([]byte(secret)) // random already: a slow hash would add nothing
	if err := addClient(r.Context(), s.pool, Client{ID: id, Name: req.Name, SecretHash: sum[:], Roles: req.roles, CreatedAt: time.Now().UTC()}); err != nil {
		return err
	}
	return rest.Write(w, http.StatusCreated, struct {
		ID     uuid.UUID `json:"client_id"`
		Secret string    `json:"client_secret"`
	}{id, secret})
}

func (s *server) removeClient(w http.ResponseWriter, r *http.Request) error {
	id, err := rest.PathID(r, "A client id is a UUID.")
	if err != nil {
		return err
	}
	found, err := deleteClient(r.Context(), s.pool, id)
	if err != nil {
		return err
	}
	if !found {
		return fault.New(fault.NotFound, "client_not_found", "There is no such client.")
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

type keyView struct {
	ID      string    `json:"id"`
	State   string    `json:"state"`
	Created time.Time `json:"created_at"`
	Since   time.Time `json:"since"`
}

func (s *server) listKeys(w http.ResponseWriter, r *http.Request) error {
	s.keys.forget()
	found, err := s.keys.load(r.Context())
	if err != nil {
		return err
	}
	answer := struct {
		Keys []keyView `json:"keys"`
	}{make([]keyView, len(found.rows))}
	for i, k := range found.rows {
		answer.Keys[i] = keyView{k.ID, k.State, k.CreatedAt, k.MovedAt}
	}
	return rest.Write(w, http.StatusOK, answer)
}

// rotateKeys has the next key take over, once verifiers know it.
func (s *server) rotateKeys(w http.ResponseWriter, r *http.Request) error {
	m, err := s.keys.keep(r.Context(), true)
	if err != nil {
		return err
	}
	if m.promote == "" {
		return fault.New(fault.Conflict, "key_too_new", "The next key was published less than %s ago; verifiers may not know it yet.", publishTime)
	}
	return s.listKeys(w, r)
}

// revokeKey is for a key that somebody else may have.
func (s *server) revokeKey(w http.ResponseWriter, r *http.Request) error {
	found, err := s.keys.revoke(r.Context(), chi.URLParam(r, "key"))
	if err != nil {
		return err
	}
	if !found {
		return fault.New(fault.NotFound, "key_not_found", "There is no such key.")
	}
	return s.listKeys(w, r)
}

// forgetExpired deletes what is of no more use: sessions that ended, as long ago as a token
// of theirs could have been reused, and counts of attempts.
func (s *server) forgetExpired(ctx context.Context) (bool, error) {
	const most = 1000
	deleted := int64(0)
	err := s.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		deleted = 0
		for _, sql := range []string{
			`delete from sessions where id in (select id from sessions where expires_at < $1::timestamptz - interval '1 day' order by expires_at limit $2 for update skip locked)`,
			`delete from attempts where key in (select key from attempts where since < $1::timestamptz - interval '1 day' order by since limit $2 for update skip locked)`,
		} {
			tag, err := tx.Exec(ctx, sql, tx.Now, most)
			if err != nil {
				return fmt.Errorf("forget what has expired: %w", err)
			}
			deleted = max(deleted, tag.RowsAffected())
		}
		return nil
	})
	return deleted == most, err
}
