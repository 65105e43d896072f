package identity

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/wneessen/go-mail"

	"quadrille.internal/platform/config"
	"quadrille.internal/platform/service"
)

const (
	// sendTimeout bounds the sending of one mail, from the connection to the answer.
	sendTimeout = 8 * time.Second
	// defaultUser signs in at the provider where the URL names nobody else.
	defaultUser = "quadrille"
)

var mailPartner = service.Partner{Name: "mail", What: "the mail provider", Port: 18921, Scheme: "smtp"}

// errNoSuchMailbox says that the provider refused a mail for good.
var errNoSuchMailbox = errors.New("the mail provider refuses the recipient for good")

// sender sends mail by SMTP, on a connection for each: they are few.
type sender struct {
	client       *mail.Client
	from, domain string
	timeout      time.Duration
}

func readSender(r *config.Reader) *sender {
	const name = "QUADRILLE_MAIL_FROM"
	at, key := mailPartner.Read(r)
	from := r.About("who mails are from").String(name, "no-reply@quadrille.example")
	s, err := newSender(at, key, from, sendTimeout)
	if err != nil {
		r.Fault(mailPartner.Setting("URL"), err)
	}
	return s
}

func newSender(at string, key config.Secret, from string, timeout time.Duration) (*sender, error) {
	u, err := url.Parse(at)
	if err != nil || u.Hostname() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" {
		return nil, errors.New("want smtp://user@host:port, or smtps:// for TLS from the first byte")
	}
	user := u.User.Username()
	if user == "" {
		user = defaultUser
	}
	options := []mail.Option{
		mail.WithTimeout(timeout), mail.WithUsername(user), mail.WithPassword(key.Reveal()), mail.WithoutRset(), mail.WithoutNoop(),
	}
	switch {
	case u.Scheme == "smtps":
		options = append(options, mail.WithSSL(), mail.WithSMTPAuth(mail.SMTPAuthPlain))
	case isLoopback(u.Hostname()): // nobody listens in between
		options = append(options, mail.WithTLSPolicy(mail.NoTLS), mail.WithSMTPAuth(mail.SMTPAuthPlainNoEnc))
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory), mail.WithSMTPAuth(mail.SMTPAuthPlain))
	}
	if port, err := strconv.Atoi(u.Port()); err == nil {
		options = append(options, mail.WithPort(port))
	}
	client, err := mail.NewClient(u.Hostname(), options...)
	if err != nil {
		return nil, err
	}
	return &sender{client: client, from: from, domain: u.Hostname(), timeout: timeout}, nil
}

// letter is a mail to one person. Sent twice, it has the same ID.
type letter struct {
	ID                uuid.UUID
	To, Subject, Text string
}

// send returns once the provider has taken the letter. errNoSuchMailbox is for good; after
// any other error the letter may have been taken, and is sent again.
func (s *sender) send(ctx context.Context, l letter) error {
	m := mail.NewMsg()
	if err := errors.Join(m.From(s.from), m.To(l.To)); err != nil {
		return fmt.Errorf("%w: %w", errNoSuchMailbox, err)
	}
	m.Subject(l.Subject)
	m.SetMessageIDWithValue(l.ID.String() + "@" + s.domain)
	m.SetDate()
	m.SetGenHeader("Auto-Submitted", "auto-generated") // nobody's holiday answers it
	m.SetBodyString(mail.TypeTextPlain, l.Text)
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := s.client.DialAndSendWithContext(ctx, m)
	if m.IsDelivered() { // what goes wrong after that is the provider's
		return nil
	}
	if refused, ok := errors.AsType[*mail.SendError](err); ok && refused.Reason == mail.ErrSMTPRcptTo && refused.ErrorCode() >= 500 {
		return errNoSuchMailbox
	}
	if err != nil {
		return errors.New("send mail: " + reasonOf(err))
	}
	return nil
}

// reasonOf an error is one without the recipient, whose address is in no log.
func reasonOf(err error) string {
	if refused, ok := errors.AsType[*mail.SendError](err); ok {
		return fmt.Sprintf("%s (%d)", refused.Reason, refused.ErrorCode())
	}
	return err.Error()
}
