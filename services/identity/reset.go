package identity

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/seal"
	"quadrille.internal/platform/sweep"
)

const (
	// resetLife is how long a mailed token serves, and how long its mail is tried.
	resetLife = 30 * time.Minute
	// mailBatch are sent at a time, each on a connection of its own.
	mailBatch = 5
	// mailLease is how long a mail belongs to who took it up. Longer than sendTimeout.
	mailLease = 30 * time.Second
	// maxMailWait is how long a mail that failed waits at most.
	maxMailWait = 5 * time.Minute
	lookForMail = 5 * time.Second
)

// resets let people who forgot their password set another, by a token that is mailed.
//
// Whether there is an account is looked up by the worker that sends the mail, and not by
// the request: so its answer and its time say nothing.
type resets struct {
	pool   *pgxpool.Pool
	vault  *vault
	box    *seal.Box
	sender *sender
	// page is where a mail leads. The token is in its fragment, which no server is sent.
	page  url.URL
	log   *slog.Logger
	sweep *sweep.Sweep
}

// newResets completes r for a shop, whose pages are there.
func newResets(r *resets, shop *url.URL) *resets {
	r.page = *shop.JoinPath("new-password")
	r.sweep = sweep.New(sweep.Config{Name: "mail", Every: lookForMail, Timeout: 3 * sendTimeout, Log: r.log}, r.sendBatch)
	return r
}

// placeOf is what the address of a mail is sealed for.
func placeOf(mail uuid.UUID) string { return "mail " + mail.String() }

// ask has a token mailed to an address, if it is that of an account.
func (r *resets) ask(ctx context.Context, address string) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	_, err = r.pool.Exec(ctx, `insert into mails (id, address) values ($1, $2)`, id, r.box.Seal(placeOf(id), []byte(address)))
	if err != nil {
		return fmt.Errorf("keep the mail: %w", err)
	}
	r.sweep.Wake()
	return nil
}

// dueMail is one that was taken up.
type dueMail struct {
	ID       uuid.UUID
	Address  []byte
	Attempts int
	// Late says that it is given up.
	Late bool
}

// sendBatch takes up mails that are due. Another replica does not until the lease has run out.
func (r *resets) sendBatch(ctx context.Context) (more bool, err error) {
	rows, err := r.pool.Query(ctx, `
		update mails set attempts = attempts + 1, due_at = now() + $1
		where id in (select id from mails where due_at <= now() order by due_at limit $2 for update skip locked)
		returning id, address, attempts, created_at < now() - $3::interval`, mailLease, mailBatch, resetLife)
	if err != nil {
		return false, fmt.Errorf("take up mails: %w", err)
	}
	batch, err := pgx.CollectRows(rows, pgx.RowToStructByPos[dueMail])
	if err != nil {
		return false, fmt.Errorf("take up mails: %w", err)
	}
	var sending errgroup.Group
	for _, m := range batch {
		sending.Go(func() error { return r.settle(ctx, m) })
	}
	return len(batch) == mailBatch, sending.Wait()
}

// settle sends a mail, or puts it off, or gives it up.
func (r *resets) settle(ctx context.Context, m dueMail) error {
	err := errors.New("it is too old")
	if !m.Late {
		err = r.send(ctx, m)
	}
	switch {
	case err == nil:
	case m.Late, errors.Is(err, errNoSuchMailbox):
		r.log.WarnContext(ctx, "a mail is given up", "mail_id", m.ID, "attempts", m.Attempts, "err", err)
	default:
		wait := mailWait(m.Attempts)
		r.log.WarnContext(ctx, "a mail was not sent, will try again", "mail_id", m.ID, "attempts", m.Attempts, "wait", wait, "err", err)
		if _, err := r.pool.Exec(ctx, `update mails set due_at = now() + $2 where id = $1`, m.ID, wait); err != nil {
			return fmt.Errorf("put a mail off: %w", err)
		}
		return nil
	}
	if _, err := r.pool.Exec(ctx, `delete from mails where id = $1`, m.ID); err != nil {
		return fmt.Errorf("delete a mail: %w", err)
	}
	return nil
}

// mailWait doubles with each attempt.
func mailWait(attempts int) time.Duration {
	return min(maxMailWait, 5*time.Second<<min(attempts-1, 10))
}

// send mails a token if there is an account. The token is committed first, and the mail is
// sent outside of the transaction. Each attempt has a token of its own, since the hash of
// an earlier one is all that is left of it.
func (r *resets) send(ctx context.Context, m dueMail) error {
	address, err := r.box.Open(placeOf(m.ID), m.Address)
	if err != nil {
		return fmt.Errorf("open the address: %w", err)
	}
	sec, err := r.vault.open(ctx)
	if err != nil {
		return err
	}
	token := rand.Text()
	tag, err := r.pool.Exec(ctx, `
		insert into reset_tokens (token_hash, account_id, login, expires_at)
		select $1, id, login, now() + $3 from accounts where login = $2`,
		hashOf(token), sec.login(string(address)), resetLife)
	if err != nil {
		return fmt.Errorf("keep the token: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return nil // nobody is told
	}
	link := r.page
	link.Fragment = "token=" + token
	return r.sender.send(ctx, letter{
		ID: m.ID, To: string(address), Subject: "Your new password at " + r.page.Host,
		Text: fmt.Sprintf("Somebody, we hope it was you, asked for a new password at %s.\n"+
			"Set it on this page, within %d minutes:\n\n%s\n\n"+
			"If it was not you, do nothing: your password stays as it is.\n", r.page.Host, int(resetLife.Minutes()), link.String()),
	})
}

// check reports whether a token serves, before the new password is hashed.
func (r *resets) check(ctx context.Context, token string) error {
	var serves bool
	err := r.pool.QueryRow(ctx, `
		select exists (select from reset_tokens t join accounts a on a.id = t.account_id and a.login = t.login
		where t.token_hash = $1 and t.expires_at > now())`, hashOf(token)).Scan(&serves)
	if err != nil {
		return fmt.Errorf("look up the token: %w", err)
	}
	if !serves {
		return errTokenVoid()
	}
	return nil
}

// use sets the password of the account that a token was mailed to, voids all its tokens and
// ends its sessions.
//
// Who has the mailbox is the owner. Until the first such proof anybody may have registered
// the address, and waited for its owner with a passkey or a linked provider: those go.
func (r *resets) use(ctx context.Context, tx *outbox.Tx, token, hash string) error {
	rows, err := tx.Query(ctx, `
		select a.id, a.verified_at is not null
		from reset_tokens t join accounts a on a.id = t.account_id and a.login = t.login
		where t.token_hash = $1 and t.expires_at > now()
		for update`, hashOf(token))
	if err != nil {
		return fmt.Errorf("look up the token: %w", err)
	}
	type owner struct {
		ID       uuid.UUID
		Verified bool
	}
	found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[owner])
	if errors.Is(err, pgx.ErrNoRows) {
		return errTokenVoid()
	}
	if err != nil {
		return fmt.Errorf("look up the token: %w", err)
	}
	if err := replacePassword(ctx, tx, found.ID, hash, uuid.Nil); err != nil {
		return err
	}
	tx.Last(`delete from reset_tokens where account_id = $1`, found.ID)
	if !found.Verified {
		tx.Last(`delete from passkeys where account_id = $1`, found.ID)
		tx.Last(`delete from openid_links where account_id = $1`, found.ID)
	}
	return verified(ctx, tx, found.ID)
}

func errTokenVoid() error {
	return fault.New(fault.Conflict, "token_void", "This link was used, has expired, or is not the account's any more; ask for another.")
}

// prune deletes tokens that expired, at most a batch.
func (r *resets) prune(ctx context.Context) (more bool, err error) {
	const most = 1000
	tag, err := r.pool.Exec(ctx, `
		delete from reset_tokens where token_hash in
		(select token_hash from reset_tokens where expires_at <= now() order by expires_at limit $1 for update skip locked)`, most)
	if err != nil {
		return false, fmt.Errorf("delete tokens that expired: %w", err)
	}
	return tag.RowsAffected() == most, nil
}
