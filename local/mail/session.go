package main

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"quadrille.internal/local/mail/mailbox"
	"quadrille.internal/local/standin"
)

// refused begins the addresses that have no mailbox. It shows a bounce to people who would
// not switch a mode.
const refused = "mail-refuse-"

// putOff begins the addresses whose mailbox takes nothing yet.
const putOff = "mail-later-"

var (
	errDown     = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "We are down. Try again later."}
	errFlaky    = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Something went wrong on our side."}
	errNoBox    = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such mailbox."}
	errLater    = &smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 2, 0}, Message: "Try again later."}
	errMalform  = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "This is no message."}
	errWrongKey = &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "The key is wrong."}
)

// taker takes mail into the mailbox.
type taker struct {
	*standin.Server
	box *mailbox.Mailbox

	// busy is held while a message is taken: the mailbox is closed after that.
	busy sync.RWMutex
}

// NewSession begins a connection.
func (t *taker) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &session{taker: t, conn: c}, nil
}

// session is one connection, which may bring several messages.
type session struct {
	*taker
	conn  *smtp.Conn
	known bool // the client has shown its key

	mode standin.Mode // for the message under way
	from string
	to   []string
}

// AuthMechanisms are those by which clients show their key.
func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

// Auth takes the key as the password of any user.
func (s *session) Auth(string) (sasl.Server, error) { //nolint:unparam // as smtp.AuthSession has it
	return sasl.NewPlainServer(func(_, _, password string) error {
		if !s.IsKey(password) {
			return errWrongKey
		}
		s.known = true
		return nil
	}), nil
}

// Mail begins a message.
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if !s.known {
		return smtp.ErrAuthRequired
	}
	mode, call := s.Suffer()
	s.mode, s.from, s.to = mode, from, nil
	if mode == standin.ModeDown {
		if call%2 == 0 {
			s.cut()
		}
		return errDown
	}
	return nil
}

// Rcpt adds a recipient.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, refused) {
		return errNoBox
	}
	if strings.HasPrefix(to, putOff) {
		return errLater
	}
	s.to = append(s.to, to)
	return nil
}

// Data takes the message. It is on disk before the client hears of it.
func (s *session) Data(r io.Reader) error {
	s.busy.RLock()
	defer s.busy.RUnlock()
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	switch s.mode {
	case standin.ModeFlaky:
		return errFlaky
	case standin.ModeSlow:
		s.Wait()
	default: // the others do not act before a message is kept
	}
	switch err := s.box.Put(s.from, s.to, raw); {
	case errors.Is(err, mailbox.ErrMalformed):
		return errMalform
	case err != nil:
		s.Log.Error("keep message", slog.Any("err", err))
		return errFlaky
	}
	switch s.mode {
	case standin.ModeFailAfter:
		return errFlaky
	case standin.ModeLoseReply:
		s.cut()
	default: // the others do not act after it
	}
	return nil
}

// cut drops the connection without a word.
func (s *session) cut() { _ = s.conn.Conn().Close() }

// Reset forgets the message under way.
func (s *session) Reset() { s.mode, s.from, s.to = standin.ModeOK, "", nil }

// Logout ends the connection.
func (s *session) Logout() error { return nil }
