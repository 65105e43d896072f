package identity

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/wneessen/go-mail"

	"quadrille.internal/platform/config"
)

func aLetter(to string) letter {
	return letter{ID: uuid.New(), To: to, Subject: "Ein neues Paßwort", Text: "Für Sie:\nhttps://shop.example/new-password#token=" + strings.Repeat("X", 80) + "\n"}
}

func TestALetterArrives(t *testing.T) {
	box := startMailbox(t)
	l := aLetter("ann@shop.example")
	if err := box.sender().send(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	got := box.mails(l.To)
	if len(got) != 1 {
		t.Fatalf("%d mails, want one", len(got))
	}
	text := strings.ReplaceAll(got[0].Text, "\r\n", "\n")
	if got[0].Subject != l.Subject || strings.TrimSpace(text) != strings.TrimSpace(l.Text) || got[0].From != "shop@shop.example" ||
		!strings.Contains(got[0].MessageID, l.ID.String()) {
		t.Errorf("arrived: %+v", got[0])
	}
}

func TestWhatBecomesOfALetter(t *testing.T) {
	for _, c := range []struct {
		name, mode, to string
		forGood        bool
		arrives        int
	}{
		{"refused for now", `{"mode":"flaky"}`, "ann@shop.example", false, 0},
		{"the provider is down", `{"mode":"down"}`, "ann@shop.example", false, 0},
		{"taken, and answered with an error", `{"mode":"fail_after"}`, "ann@shop.example", false, 1},
		{"taken, the answer lost", `{"mode":"lose_reply"}`, "ann@shop.example", false, 1},
		{"a recipient put off", `{"mode":"ok"}`, "mail-later-1@shop.example", false, 0},
		{"no such mailbox", `{"mode":"ok"}`, "mail-refuse-1@shop.example", true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			box := startMailbox(t)
			box.mode(c.mode)
			err := box.sender().send(t.Context(), aLetter(c.to))
			if err == nil || errors.Is(err, errNoSuchMailbox) != c.forGood {
				t.Errorf("send: %v, want an error that is for good: %t", err, c.forGood)
			}
			if err != nil && strings.Contains(err.Error(), "@") {
				t.Errorf("the error tells the address: %v", err)
			}
			box.mode(`{"mode":"ok"}`)
			if n := len(box.mails(c.to)); n != c.arrives {
				t.Errorf("%d mails arrived, want %d", n, c.arrives)
			}
		})
	}
}

func TestAProviderThatHangsDoesNotHoldTheSender(t *testing.T) {
	box := startMailbox(t)
	box.mode(`{"mode":"slow"}`)
	began := time.Now()
	if err := box.hasty(300*time.Millisecond).send(t.Context(), aLetter("ann@shop.example")); err == nil {
		t.Error("a mail that nobody has answered for counts as sent")
	}
	if took := time.Since(began); took > 50*time.Second {
		t.Errorf("gave up after %s, want 300ms", took)
	}
}

func TestWhereMailGoes(t *testing.T) {
	for _, c := range []struct {
		url, addr string
		policy    string
		fails     bool
	}{
		{"smtp://127.0.0.1:18921", "127.0.0.1:18921", mail.NoTLS.String(), false},
		{"smtp://shop@mail.example:587", "mail.example:587", mail.TLSMandatory.String(), false},
		{"smtps://mail.example:465", "mail.example:465", "", false},
		{"http://mail.example", "", "", true},
		{"mail.example:25", "", "", true},
		{"smtp://", "", "", true},
	} {
		s, err := newSender(c.url, config.Secret("k"), "shop@shop.example", sendTimeout)
		if (err != nil) != c.fails {
			t.Errorf("%s: %v", c.url, err)
		}
		if err != nil {
			continue
		}
		if got := s.client.ServerAddr(); got != c.addr || c.policy != "" && s.client.TLSPolicy() != c.policy {
			t.Errorf("%s: at %s with %s, want %s with %s", c.url, got, s.client.TLSPolicy(), c.addr, c.policy)
		}
	}
}
