package installation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/quad/api"
)

// renewBefore is how long before its end an access token is not used any more.
const renewBefore = time.Minute

// session is a sign-in that lasts, as it is kept in a file of its own for each context.
//
// Each refresh token opens the session once, and is replaced in the file before anything
// else happens. Two commands that exchange the same one at the same time get the same
// successor from identity, which answers so for 10 s: no lock is needed.
type session struct {
	// Gateway is where it was opened. Its tokens are sent nowhere else, whatever the
	// context says later.
	Gateway      string    `json:"gateway"`
	AccountID    uuid.UUID `json:"account_id"`
	SessionID    uuid.UUID `json:"session_id"`
	AccessToken  string    `json:"access_token"`
	AccessEnds   time.Time `json:"access_ends"`
	RefreshToken string    `json:"refresh_token"`
}

// sessionPath is beside the contexts, or in the folder of the local stack.
func (i *Installation) sessionPath() string {
	if i.where == "" {
		return filepath.Join(i.Dir, "session.json")
	}
	return sessionFile(i.where, i.Name)
}

func sessionFile(contexts, name string) string {
	return filepath.Join(filepath.Dir(contexts), name+".session.json")
}

// readSession returns nil where nobody is signed in.
func (i *Installation) readSession() (*session, error) {
	gateway := i.Services["gateway"].Public
	if gateway == "" {
		return nil, i.missing("services.gateway.public")
	}
	path := i.sessionPath()
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	again := i.loginCommand() + " replaces it"
	if err != nil {
		return nil, i.sessionFault("the session cannot be read: "+err.Error(), again)
	}
	if info.Mode()&0o077 != 0 {
		return nil, i.sessionFault("others may read the session in "+path, again)
	}
	var s session
	if err := json.Unmarshal(text, &s); err != nil || s.RefreshToken == "" {
		return nil, i.sessionFault("there is no whole session in "+path, again)
	}
	if s.Gateway != gateway {
		return nil, i.sessionFault(fmt.Sprintf("the session in %s is one at %s, and the gateway is %s", path, s.Gateway, gateway), again)
	}
	return &s, nil
}

// writeSession keeps the session, before its new refresh token is used.
func (i *Installation) writeSession(t api.Tokens) error {
	text, err := json.Marshal(session{ //nolint:gosec // the file is there for the tokens, and only its owner may read it
		Gateway: i.Services["gateway"].Public, AccountID: t.AccountID, SessionID: t.SessionID, RefreshToken: t.Refresh,
		AccessToken: t.Access, AccessEnds: time.Now().Add(time.Duration(t.ExpiresIn) * time.Second),
	})
	if err == nil {
		err = writePrivate(i.sessionPath(), text)
	}
	if err != nil {
		return fmt.Errorf("keep the session: %w", err)
	}
	return nil
}

// Login opens a session at the gateway, in place of one that there is.
func (i *Installation) Login(ctx context.Context, email, password string) (account uuid.UUID, err error) {
	before, unreadable := i.readSession() // which is replaced
	if i.Services["gateway"].Public == "" {
		return account, unreadable
	}
	tokens, err := i.gateway().SignIn(ctx, email, password)
	if err != nil {
		return account, fmt.Errorf("sign in: %w", err)
	}
	if err := i.writeSession(tokens); err != nil {
		return account, err
	}
	if before != nil {
		if err := i.gateway().SignOut(ctx, before.RefreshToken); err != nil {
			return account, fmt.Errorf("signed in, but the session before goes on: %w", err)
		}
	}
	return tokens.AccountID, nil
}

// Logout ends the session and forgets it. It reports whether there was one.
func (i *Installation) Logout(ctx context.Context) (bool, error) {
	s, err := i.readSession()
	if s == nil || err != nil {
		return false, err
	}
	if err := i.gateway().SignOut(ctx, s.RefreshToken); err != nil {
		return true, fmt.Errorf("end the session, which goes on: %w", err)
	}
	return true, os.Remove(i.sessionPath())
}

// Person returns a client that calls the gateway as who signed in.
func (i *Installation) Person(ctx context.Context) (*api.Person, error) {
	s, err := i.readSession()
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, i.sessionFault("nobody is signed in", "sign in first: "+i.loginCommand())
	}
	access := s.AccessToken
	if time.Until(s.AccessEnds) < renewBefore {
		// An interrupt must not lose the successor between identity and the file.
		tokens, err := i.gateway().Refresh(context.WithoutCancel(ctx), s.RefreshToken)
		if err != nil {
			return nil, fmt.Errorf("get a new access token: %w", err)
		}
		if err := i.writeSession(tokens); err != nil {
			return nil, err
		}
		access = tokens.Access
	}
	i.gateway().Use(access)
	return i.person, nil
}

// gateway is without an access token until Person gives it one.
func (i *Installation) gateway() *api.Person {
	if i.person == nil {
		i.person = api.NewPerson(i.Services["gateway"].Public)
	}
	return i.person
}

func (i *Installation) sessionFault(problem, remedy string) error {
	return &EnvironmentError{fmt.Sprintf("context %s: %s", i.Name, problem), remedy}
}

func (i *Installation) loginCommand() string {
	if i.where == "" {
		return "quad login EMAIL"
	}
	return "quad login EMAIL --context " + i.Name
}
