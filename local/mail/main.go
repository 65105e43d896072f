// Command mail stands in for the mail provider: it takes mail by SMTP, keeps it in books of
// its own, delivers none, and misbehaves on demand. API.md describes it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/emersion/go-smtp"

	"quadrille.internal/local/mail/mailbox"
	"quadrille.internal/local/standin"
)

const (
	idleTimeout = time.Minute
	maxTo       = 50
	maxLine     = 2000
)

var (
	errInternal = &standin.Error{
		Status: http.StatusInternalServerError, Type: standin.TypeAPI, Code: "internal",
		Message: "Something went wrong on our side.",
	}
	errUnavailable = &standin.Error{
		Status: http.StatusServiceUnavailable, Type: standin.TypeAPI, Code: "unavailable",
		Message: "We are down. Nothing was done.",
	}
)

func main() { newProgram("127.0.0.1:18921").Main() }

// newProgram takes mail at an address, unless the command line has another.
func newProgram(smtpAddr string) standin.Program {
	s := &server{smtpAddr: smtpAddr}
	return standin.Program{
		Name:  "mail",
		Addr:  "127.0.0.1:18920",
		Flags: s.flags,
		Open:  s.open,
		Modes: []standin.Mode{
			standin.ModeOK, standin.ModeDown, standin.ModeSlow,
			standin.ModeFlaky, standin.ModeFailAfter, standin.ModeLoseReply,
		},
		Partial:  true,
		Internal: errInternal,
		Down:     errUnavailable,
	}
}

// server takes mail and answers what was taken.
type server struct {
	smtpAddr string
}

func (s *server) flags(flags *flag.FlagSet) {
	flags.StringVar(&s.smtpAddr, "smtp", s.smtpAddr, "loopback host:port to take mail at")
}

// books are the mailbox and the server that fills it.
type books struct {
	*mailbox.Mailbox
	taker  *taker
	smtp   *smtp.Server
	served chan error
}

func (s *server) open(base *standin.Server, stateFile string) (standin.Books, error) {
	if err := loopback(s.smtpAddr); err != nil {
		return nil, err
	}
	box, err := mailbox.Open(stateFile, time.Now, base.Log)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", s.smtpAddr)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for mail: %w", err), box.Close())
	}
	t := &taker{Server: base, box: box}
	b := &books{box, t, newSMTP(t), make(chan error, 1)}
	go func() { b.served <- b.smtp.Serve(listener) }()

	base.Route("GET /v1/messages", func(w http.ResponseWriter, r *http.Request) error {
		return standin.List(w, r, "to", box.Messages)
	})
	base.RouteAdmin("GET /admin/smtp", func(w http.ResponseWriter, _ *http.Request) error {
		return standin.WriteJSON(w, http.StatusOK, map[string]string{"addr": listener.Addr().String()})
	})
	return b, nil
}

// loopback refuses addresses that other machines can reach: mail comes without TLS here.
func loopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("-smtp: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && !ip.IsLoopback() {
		return fmt.Errorf("-smtp %s is reachable from other machines: use 127.0.0.1", addr)
	}
	return nil
}

func newSMTP(t *taker) *smtp.Server {
	s := smtp.NewServer(t)
	s.Domain = "mail.quadrille.example"
	s.AllowInsecureAuth = true // only the loopback interface is listened on
	s.MaxRecipients, s.MaxMessageBytes, s.MaxLineLength = maxTo, mailbox.MaxMessage, maxLine
	s.ReadTimeout, s.WriteTimeout = idleTimeout, idleTimeout
	return s
}

// Close ends the server before the books that it writes to.
func (b *books) Close() error {
	err := b.smtp.Close()
	if served := <-b.served; !errors.Is(served, smtp.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	b.taker.busy.Lock()
	defer b.taker.busy.Unlock()
	return errors.Join(err, b.Mailbox.Close())
}
