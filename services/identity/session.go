package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
)

const (
	// graceTime is how long a refresh token that was exchanged is answered with the same
	// successor: the first answer may have been lost, or another tab was faster.
	graceTime = 10 * time.Second
	// maxExchanges are the latest exchanges of which the time is kept.
	maxExchanges = 16
	// maxSteps bounds how old a refresh token may be to be recognised, in exchanges. What is
	// older is as good as made up: it opens nothing, and revokes nothing.
	maxSteps = 10_000

	secretSize = 32
	// tokenPrefix lets scanners of source code and logs recognise a refresh token.
	tokenPrefix = "qrt_"
)

// Session is a sign-in that lasts: a chain of refresh tokens, each of which makes the next
// by a secret of the service. So the successor of a token is always the same, though only
// the hash of the last one is stored.
type Session struct {
	ID, Account uuid.UUID
	// Hash is that of the chain's last token.
	Hash       []byte
	Generation int
	// Exchanges are the times of the latest ones, oldest first.
	Exchanges                    []time.Time
	CreatedAt, UsedAt, ExpiresAt time.Time
	RevokedAt                    *time.Time
}

// refreshToken is one of a session's chain.
type refreshToken struct {
	session    uuid.UUID
	generation int
	secret     []byte
}

// String returns the token as callers get it.
func (t refreshToken) String() string {
	raw := slices.Concat(t.session[:], binary.BigEndian.AppendUint32(nil, uint32(t.generation)), t.secret) //nolint:gosec // counted up from 0
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(raw)
}

func parseRefreshToken(text string) (t refreshToken, err error) {
	if len(text) > 128 || len(text) < len(tokenPrefix) || text[:len(tokenPrefix)] != tokenPrefix {
		return t, errors.New("not a refresh token")
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text[len(tokenPrefix):])
	if err != nil || len(raw) != 16+4+secretSize {
		return t, errors.New("not a refresh token")
	}
	copy(t.session[:], raw)
	t.generation, t.secret = int(binary.BigEndian.Uint32(raw[16:])), raw[20:]
	return t, nil
}

func (t refreshToken) hash() []byte {
	sum := sha256.Sum256([]byte(t.String()))
	return sum[:]
}

// next returns the successor of a token.
func (s *secrets) next(t refreshToken) refreshToken {
	return refreshToken{t.session, t.generation + 1, mac(s.tokens, t.String())}
}

// newSession returns a session and the first token of its chain.
func newSession(account uuid.UUID, now time.Time, life time.Duration) (*Session, refreshToken, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, refreshToken{}, err
	}
	first := refreshToken{session: id, secret: randomBytes(secretSize)}
	return &Session{
		ID: id, Account: account, Hash: first.hash(), Exchanges: []time.Time{}, CreatedAt: now, UsedAt: now, ExpiresAt: now.Add(life),
	}, first, nil
}

// outcome is what a refresh token that was presented leads to.
type outcome int

const (
	// unknown: it is none of this session's, or the session has ended.
	unknown outcome = iota
	// exchanged: the token was the last one; the session has changed.
	exchanged
	// repeated: it was exchanged a moment ago; its successor is answered once more.
	repeated
	// reused: it was exchanged long ago. Somebody else may have it, so the session must end.
	reused
)

// exchange takes a refresh token for its successor.
func (s *Session) exchange(t refreshToken, sec *secrets, now time.Time) (refreshToken, outcome) {
	steps := s.Generation - t.generation
	if s.RevokedAt != nil || !now.Before(s.ExpiresAt) || steps < 0 || steps > maxSteps {
		return refreshToken{}, unknown
	}
	successor := sec.next(t)
	last := t
	for range steps {
		last = sec.next(last)
	}
	if !hmac.Equal(last.hash(), s.Hash) {
		return refreshToken{}, unknown
	}
	if steps == 0 {
		s.Hash, s.Generation, s.UsedAt = successor.hash(), successor.generation, now
		s.Exchanges = append(s.Exchanges, now)
		s.Exchanges = s.Exchanges[max(0, len(s.Exchanges)-maxExchanges):]
		return successor, exchanged
	}
	if i := len(s.Exchanges) - steps; i >= 0 && now.Sub(s.Exchanges[i]) <= graceTime {
		return successor, repeated
	}
	return refreshToken{}, reused
}
