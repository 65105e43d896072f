package identity

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/google/uuid"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
)

// maxPasskeyName is in characters.
const maxPasskeyName = 64

// credential is what a browser's PublicKeyCredential.toJSON gives.
type credential struct {
	Ceremony   string          `json:"ceremony"`
	Credential json.RawMessage `json:"credential"`
}

// beginPasskey says what a device must be asked to sign somebody in.
func (s *server) beginPasskey(w http.ResponseWriter, r *http.Request) error {
	if err := s.limits.take(r.Context(), w, perStart, addressOf(r, s.forwarded)); err != nil {
		return err
	}
	options, b, err := s.passkeys.beginSignIn(r.Context())
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusCreated, struct {
		begun
		Options *protocol.CredentialAssertion `json:"options"`
	}{b, options})
}

func (s *server) finishPasskey(w http.ResponseWriter, r *http.Request) error {
	var req credential
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	account, err := s.passkeys.signIn(r.Context(), req.Ceremony, req.Credential)
	if err != nil {
		return err
	}
	return s.enter(w, r, account)
}

// beginAddition says what a device must be asked for a new passkey of the caller.
func (s *server) beginAddition(w http.ResponseWriter, r *http.Request) error {
	account, err := s.justSignedIn(r.Context())
	if err != nil {
		return err
	}
	options, b, err := s.passkeys.beginAddition(r.Context(), account)
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusCreated, struct {
		begun
		Options *protocol.CredentialCreation `json:"options"`
	}{b, options})
}

type passkeyView struct {
	ID        uuid.UUID  `json:"id"`
	Name      string     `json:"name"`
	CreatedAt time.Time  `json:"created_at"`
	UsedAt    *time.Time `json:"used_at,omitempty"`
}

func passkeyViewOf(k passkey) passkeyView { return passkeyView{k.ID, k.Name, k.CreatedAt, k.UsedAt} }

func (s *server) finishAddition(w http.ResponseWriter, r *http.Request) error {
	account, err := accountOf(r.Context())
	if err != nil {
		return err
	}
	var req struct {
		credential
		Name string `json:"name"`
	}
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	if n := utf8.RuneCountInString(req.Name); n < 1 || n > maxPasskeyName || strings.ContainsFunc(req.Name, isControl) {
		return fault.Field("name", "malformed", "A passkey's name has 1 to %d characters, and none that controls.", maxPasskeyName)
	}
	k, err := s.passkeys.add(r.Context(), account, req.Name, req.Ceremony, req.Credential)
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusCreated, passkeyViewOf(k))
}

// isControl finds what PostgreSQL or a terminal would stumble over.
func isControl(c rune) bool { return c < ' ' || c == 0x7f }

func (s *server) listPasskeys(w http.ResponseWriter, r *http.Request) error {
	account, err := accountOf(r.Context())
	if err != nil {
		return err
	}
	list, err := s.passkeys.list(r.Context(), s.pool, account)
	if err != nil {
		return err
	}
	answer := struct {
		Passkeys []passkeyView `json:"passkeys"`
	}{make([]passkeyView, len(list))}
	for i, k := range list {
		answer.Passkeys[i] = passkeyViewOf(k)
	}
	return rest.Write(w, http.StatusOK, answer)
}
