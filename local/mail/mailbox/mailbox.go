// Package mailbox keeps the messages that the mail provider's stand-in has taken, in one
// append-only file.
package mailbox

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"sync"
	"time"

	"quadrille.internal/local/standin/index"
	"quadrille.internal/local/standin/journal"
)

// MaxMessage is the largest message, in bytes.
const MaxMessage = 256 << 10

// ErrMalformed reports a message that cannot be read.
var ErrMalformed = errors.New("message cannot be read")

// Message is one that was taken for one recipient.
type Message struct {
	ID string `json:"id"`
	// MessageID is the header's, by which a message that was sent twice is known.
	MessageID string `json:"message_id"`
	From      string `json:"from"`
	To        string `json:"to"`
	Subject   string `json:"subject"`
	// Text is the body, decoded.
	Text    string `json:"text"`
	Created int64  `json:"created"` // Unix seconds
}

// Mailbox is safe for concurrent use.
type Mailbox struct {
	journal *journal.Journal
	now     func() time.Time

	mu       sync.RWMutex
	messages index.Index[Message] // grouped by recipient
}

// Open reads the state file at path, or creates it, and locks it until Close.
func Open(path string, now func() time.Time, log *slog.Logger) (*Mailbox, error) {
	m := &Mailbox{now: now, messages: index.New[Message]()}
	j, err := journal.Open(path, log, m.replay)
	if err != nil {
		return nil, err
	}
	m.journal = j
	return m, nil
}

// Close writes what is waiting and gives up the lock.
func (m *Mailbox) Close() error { return m.journal.Close() }

// Failed is closed once the state file could not be written.
func (m *Mailbox) Failed() <-chan struct{} { return m.journal.Failed() }

// Put keeps a message for each of its recipients. It returns once all are on disk: one
// line holds them, so that a crash keeps all or none.
func (m *Mailbox) Put(from string, to []string, raw []byte) error {
	read, err := parse(raw)
	if err != nil {
		return err
	}
	read.From, read.Created = from, m.now().Unix()
	copies := make([]Message, len(to))
	for i, recipient := range to {
		copies[i] = read
		copies[i].ID, copies[i].To = "msg_"+rand.Text(), recipient
	}
	line, err := json.Marshal(copies)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	if err := m.journal.Append(line, func() { m.add(copies) }); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	return nil
}

// parse reads what tests want to know of a message with a single part.
func parse(raw []byte) (Message, error) {
	in, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(in.Header.Get("Subject"))
	if err != nil {
		return Message{}, fmt.Errorf("%w: subject: %w", ErrMalformed, err)
	}
	body := in.Body
	if strings.EqualFold(in.Header.Get("Content-Transfer-Encoding"), "quoted-printable") {
		body = quotedprintable.NewReader(body)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return Message{}, fmt.Errorf("%w: body: %w", ErrMalformed, err)
	}
	return Message{MessageID: in.Header.Get("Message-ID"), Subject: subject, Text: string(text)}, nil
}

func (m *Mailbox) replay(line []byte) error {
	var copies []Message
	if err := json.Unmarshal(line, &copies); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	m.add(copies)
	return nil
}

func (m *Mailbox) add(copies []Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range copies {
		m.messages.Add(c.ID, c.To, c)
	}
}

// Messages lists what was taken, for one recipient when the query has a group. Fails with
// index.ErrUnknownCursor.
func (m *Mailbox) Messages(q index.Query) (index.Page[Message], error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.messages.Page(q)
}
