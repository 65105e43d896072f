package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"quadrille.internal/local/mail/mailbox"
	"quadrille.internal/local/standin/standintest"
)

// provider is a running stand-in with the calls its tests make.
type provider struct{ *standintest.Server }

func start(t *testing.T) provider {
	t.Helper()
	return provider{standintest.Start(t, newProgram("127.0.0.1:0"))}
}

func message(n int) string {
	return fmt.Sprintf("Message-ID: <%d@shop.example>\r\nSubject: =?utf-8?q?Caf=C3=A9?=\r\n"+
		"Content-Transfer-Encoding: quoted-printable\r\n\r\nNumber =\r\n%d\r\n", n, n)
}

// dial connects with a key.
func (p provider) dial(key string) (*smtp.Client, error) {
	p.T.Helper()
	addr := standintest.Parse[struct{ Addr string }](p.T, p.Must("GET", "/admin/smtp", "")).Addr
	conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := smtp.NewClient(conn)
	if err := c.Auth(sasl.NewPlainClient("", "shop", key)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// send brings one message on a connection of its own.
func (p provider) send(n int, to ...string) error {
	c, err := p.dial(standintest.Key)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.SendMail("shop@shop.example", to, strings.NewReader(message(n)))
}

func (p provider) messages(to string) []mailbox.Message {
	p.T.Helper()
	return standintest.Parse[struct{ Data []mailbox.Message }](p.T, p.Must("GET", "/v1/messages?limit=1000&to="+to, "")).Data
}

func TestAMessageIsKeptForEachRecipient(t *testing.T) {
	p := start(t)
	if err := p.send(7, "ann@a.example", "bob@b.example"); err != nil {
		t.Fatal(err)
	}
	p.Restart()
	for _, to := range []string{"ann@a.example", "bob@b.example"} {
		got := p.messages(to)
		if len(got) != 1 {
			t.Fatalf("%s has %d messages", to, len(got))
		}
		m := got[0]
		if m.MessageID != "<7@shop.example>" || m.Subject != "Café" || strings.TrimSpace(m.Text) != "Number 7" ||
			m.From != "shop@shop.example" || m.To != to || m.Created == 0 {
			t.Errorf("kept %+v", m)
		}
	}
}

func TestMailWantsTheKey(t *testing.T) {
	p := start(t)
	if _, err := p.dial("wrong"); codeOf(err) != 535 {
		t.Errorf("a wrong key: %v", err)
	}
	addr := standintest.Parse[struct{ Addr string }](t, p.Must("GET", "/admin/smtp", "")).Addr
	c, err := smtp.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail("shop@shop.example", nil); codeOf(err) != 502 {
		t.Errorf("no key: %v", err)
	}
}

func TestNoOtherMachineBringsMail(t *testing.T) {
	s := standintest.Prepare(t, newProgram("0.0.0.0:0"))
	if why := s.Refusal(); !strings.Contains(why, "reachable from other machines") {
		t.Errorf("refused: %s", why)
	}
}

func codeOf(err error) int {
	if reply, ok := errors.AsType[*smtp.SMTPError](err); ok {
		return reply.Code
	}
	if reply, ok := errors.AsType[*textproto.Error](err); ok {
		return reply.Code
	}
	return 0
}

func TestModes(t *testing.T) {
	for _, c := range []struct {
		mode string
		code int // of the error; 0 is a cut connection
		kept int
	}{
		{"flaky", 451, 0},
		{"fail_after", 451, 1},
		{"lose_reply", 0, 1},
		{"down", 421, 0},
	} {
		t.Run(c.mode, func(t *testing.T) {
			p := start(t)
			p.Mode(`{"mode":"` + c.mode + `","count":1}`)
			if err := p.send(1, "ann@a.example"); err == nil || codeOf(err) != c.code {
				t.Errorf("answered %v, want code %d", err, c.code)
			}
			if n := len(p.messages("ann@a.example")); n != c.kept {
				t.Errorf("%d messages kept, want %d", n, c.kept)
			}
			if err := p.send(2, "ann@a.example"); err != nil {
				t.Errorf("after the mode: %v", err)
			}
		})
	}
}

func TestDownCutsEverySecondCall(t *testing.T) {
	p := start(t)
	p.Mode(`{"mode":"down"}`)
	for call, code := range []int{421, 0, 421} {
		if err := p.send(1, "ann@a.example"); err == nil || codeOf(err) != code {
			t.Errorf("call %d: %v, want code %d", call, err, code)
		}
	}
}

func TestSlowTakesItThoughNobodyWaits(t *testing.T) {
	p := provider{standintest.Prepare(t, newProgram("127.0.0.1:0"))}
	p.Config.Slow = time.Minute
	p.Start()
	p.Mode(`{"mode":"slow"}`)
	c, err := p.dial(standintest.Key)
	if err != nil {
		t.Fatal(err)
	}
	c.SubmissionTimeout = 2 * time.Second // in which the message has arrived, and no answer has
	if err := c.SendMail("shop@shop.example", []string{"ann@a.example"}, strings.NewReader(message(1))); err == nil {
		t.Error("answered at once")
	}
	_ = c.Close()
	p.Restart() // which ends the wait
	if n := len(p.messages("ann@a.example")); n != 1 {
		t.Errorf("%d messages kept, want 1", n)
	}
}

func TestAddressesThatAreRefused(t *testing.T) {
	p := start(t)
	for to, code := range map[string]int{"mail-refuse-1@a.example": 550, "mail-later-1@a.example": 450} {
		if err := p.send(1, to); codeOf(err) != code {
			t.Errorf("%s: %v", to, err)
		}
	}
}

func TestKilledUnderLoadKeepsWhatWasAnswered(t *testing.T) {
	stopped := standintest.Prepare(t, newProgram(""))
	binary := standintest.Build(t)
	process := stopped.StartProcess(binary, "-smtp", "127.0.0.1:0")
	p := provider{process.Client(stopped)}

	var mu sync.Mutex
	answered := map[string]bool{}
	var senders sync.WaitGroup
	clients := make([]*smtp.Client, 4)
	for sender := range clients { // before any of them has the process killed
		c, err := p.dial(standintest.Key)
		if err != nil {
			t.Fatal(err)
		}
		clients[sender] = c
	}
	for sender, c := range clients {
		senders.Go(func() {
			defer c.Close()
			for n := sender; ; n += 4 {
				if err := c.SendMail("shop@shop.example", []string{"ann@a.example"}, strings.NewReader(message(n))); err != nil {
					return
				}
				mu.Lock()
				answered[fmt.Sprintf("<%d@shop.example>", n)] = true
				if len(answered) == 100 {
					if err := process.Signal(syscall.SIGKILL); err != nil {
						t.Error(err)
					}
				}
				mu.Unlock()
			}
		})
	}
	senders.Wait()
	_ = process.Wait()

	p = provider{stopped.StartProcess(binary, "-smtp", "127.0.0.1:0").Client(stopped)}
	for _, m := range p.messages("ann@a.example") {
		delete(answered, m.MessageID)
	}
	for id := range answered {
		t.Errorf("message %s was taken and is gone", id)
	}
}
