// Package identity holds the events that identity publishes.
package identity

import (
	"errors"

	"github.com/google/uuid"

	"quadrille.internal/events"
)

// TypeSessionRevoked is the event type and the topic.
const TypeSessionRevoked = "identity.session.revoked"

// KindAccount says that an event is about an account.
const KindAccount events.Kind = "account"

// Why a session was revoked.
const (
	// ReasonReuse: a refresh token was used that had been exchanged before.
	ReasonReuse = "refresh_token_reused"
	// ReasonLogout: its owner ended it.
	ReasonLogout = "logout"
	// ReasonPassword: the password was changed or reset.
	ReasonPassword = "password_changed"
	// ReasonAddress: the account has another e-mail address.
	ReasonAddress = "address_changed"
	// ReasonTooMany: there was a new sign-in, and of the most sessions that an account may have this was used longest ago.
	ReasonTooMany = "too_many_sessions"
	// ReasonOperator: an operator ended it.
	ReasonOperator = "operator"
	// ReasonErased: the customer's data is erased, and the account with it.
	ReasonErased = "customer_erased"
)

// SessionRevoked says that a session gets no more access tokens. The last one it got is
// valid for five minutes more.
type SessionRevoked struct {
	AccountID uuid.UUID `json:"account_id"`
	SessionID uuid.UUID `json:"session_id"`
	Reason    string    `json:"reason"`
}

// Type is identity.session.revoked.
func (SessionRevoked) Type() string { return TypeSessionRevoked }

// Subject is the account.
func (e SessionRevoked) Subject() string { return e.AccountID.String() }

// Key is the account.
func (e SessionRevoked) Key() string { return e.AccountID.String() }

// Validate checks that all is there.
func (e SessionRevoked) Validate() error {
	if e.AccountID == uuid.Nil || e.SessionID == uuid.Nil || e.Reason == "" {
		return errors.New("account_id, session_id and reason are required")
	}
	return nil
}
