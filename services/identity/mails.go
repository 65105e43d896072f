package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"quadrille.internal/platform/seal"
	"quadrille.internal/platform/sweep"
)

const (
	// linkLife is how long a mailed token serves, and how long its mail is tried.
	linkLife = 30 * time.Minute
	// mailBatch are sent at a time, each on a connection of its own.
	mailBatch = 5
	// mailLease is how long a mail belongs to who took it up. Longer than sendTimeout.
	mailLease = 30 * time.Second
	// maxMailWait is how long a mail that failed waits at most.
	maxMailWait = 5 * time.Minute
	lookForMail = 5 * time.Second
)

// A kind says what a mail is about.
type kind string

const (
	mailReset        kind = "reset"
	mailRegistration kind = "registration"
	mailNewAddress   kind = "new_address"
	mailOldAddress   kind = "old_address"
)

// mails are those that people asked for.
//
// Whether there is an account is looked up by the worker that sends the mail, and not by
// the request: so its answer and its time say nothing.
type mails struct {
	pool   *pgxpool.Pool
	vault  *vault
	box    *seal.Box
	sender *sender
	// shop is where mails lead. A token is in the fragment, which no server is sent.
	shop  *url.URL
	log   *slog.Logger
	sweep *sweep.Sweep
}

// newMails completes m.
func newMails(m *mails) *mails {
	m.sweep = sweep.New(sweep.Config{Name: "mail", Every: lookForMail, Timeout: 3 * sendTimeout, Log: m.log}, m.sendBatch)
	return m
}

// placeOf is what the address of a mail is sealed for.
func placeOf(mail uuid.UUID) string { return "mail " + mail.String() }

// asked is a mail that must be sent.
type asked struct {
	kind    kind
	address string
	// account is whose mail it is where a caller is known, and old then the address that the account
	// has until now, sealed.
	account *uuid.UUID
	old     []byte
}

// ask has a mail sent. A transaction wakes the worker once it has committed.
func (m *mails) ask(ctx context.Context, db querier, a asked) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, `insert into mails (id, kind, address, account_id, old) values ($1, $2, $3, $4, $5)`,
		id, a.kind, m.box.Seal(placeOf(id), []byte(a.address)), a.account, a.old)
	if err != nil {
		return fmt.Errorf("keep the mail: %w", err)
	}
	return nil
}

// dueMail is one that was taken up.
type dueMail struct {
	ID        uuid.UUID
	Kind      kind
	Address   []byte
	AccountID *uuid.UUID
	Old       []byte
	Attempts  int
	// Late says that it is given up.
	Late bool
}

// sendBatch takes up mails that are due. Another replica does not until the lease has run out.
func (m *mails) sendBatch(ctx context.Context) (more bool, err error) {
	rows, err := m.pool.Query(ctx, `
		update mails set attempts = attempts + 1, due_at = now() + $1
		where id in (select id from mails where due_at <= now() order by due_at limit $2 for update skip locked)
		returning id, kind, address, account_id, old, attempts, created_at < now() - $3::interval`, mailLease, mailBatch, linkLife)
	if err != nil {
		return false, fmt.Errorf("take up mails: %w", err)
	}
	batch, err := pgx.CollectRows(rows, pgx.RowToStructByPos[dueMail])
	if err != nil {
		return false, fmt.Errorf("take up mails: %w", err)
	}
	var sending errgroup.Group
	for _, d := range batch {
		sending.Go(func() error { return m.settle(ctx, d) })
	}
	return len(batch) == mailBatch, sending.Wait()
}

// settle sends a mail, or puts it off, or gives it up.
func (m *mails) settle(ctx context.Context, d dueMail) error {
	err := errors.New("it is too old")
	if !d.Late {
		err = m.send(ctx, d)
	}
	switch {
	case err == nil:
	case d.Late, errors.Is(err, errNoSuchMailbox):
		m.log.WarnContext(ctx, "a mail is given up", "mail_id", d.ID, "attempts", d.Attempts, "err", err)
	default:
		wait := mailWait(d.Attempts)
		m.log.WarnContext(ctx, "a mail was not sent, will try again", "mail_id", d.ID, "attempts", d.Attempts, "wait", wait, "err", err)
		if _, err := m.pool.Exec(ctx, `update mails set due_at = now() + $2 where id = $1`, d.ID, wait); err != nil {
			return fmt.Errorf("put a mail off: %w", err)
		}
		return nil
	}
	if _, err := m.pool.Exec(ctx, `delete from mails where id = $1`, d.ID); err != nil {
		return fmt.Errorf("delete a mail: %w", err)
	}
	return nil
}

// mailWait doubles with each attempt.
func mailWait(attempts int) time.Duration {
	return min(maxMailWait, 5*time.Second<<min(attempts-1, 10))
}

// send writes a mail and sends it, if it must be sent. What it rests on is committed
// first, and it is sent outside of the transaction.
func (m *mails) send(ctx context.Context, d dueMail) error {
	address, err := m.box.Open(placeOf(d.ID), d.Address)
	if err != nil {
		return fmt.Errorf("open the address: %w", err)
	}
	sec, err := m.vault.open(ctx)
	if err != nil {
		return err
	}
	login := sec.login(string(address))
	var l letter
	switch d.Kind {
	case mailReset:
		l, err = m.writeReset(ctx, login)
	case mailRegistration:
		l, err = m.writeRegistration(ctx, login)
	case mailNewAddress:
		l, err = m.writeNewAddress(ctx, login, d)
	case mailOldAddress:
		l = m.writeOldAddress()
	default: // of a newer release, whose replicas send it
		return fmt.Errorf("mail of kind %q", d.Kind)
	}
	if err != nil || l.Subject == "" {
		return err
	}
	l.ID, l.To = d.ID, string(address)
	return m.sender.send(ctx, l)
}

// link is a page of the shop that a token is for.
func (m *mails) link(page, token string) string {
	u := *m.shop.JoinPath(page)
	u.Fragment = "token=" + token
	return u.String()
}

// prune deletes tokens that expired, at most a batch of each kind.
func (m *mails) prune(ctx context.Context) (more bool, err error) {
	const most = 1000
	for _, table := range []string{"reset_tokens", "mailed_tokens"} {
		tag, err := m.pool.Exec(ctx, fmt.Sprintf(`
			delete from %[1]s where token_hash in
			(select token_hash from %[1]s where expires_at <= now() order by expires_at limit $1 for update skip locked)`, table), most)
		if err != nil {
			return false, fmt.Errorf("delete tokens that expired: %w", err)
		}
		more = more || tag.RowsAffected() == most
	}
	return more, nil
}
