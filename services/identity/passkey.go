package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/pgtx"
)

// mostPasskeys is how many an account may have.
const mostPasskeys = 20

// passkey is a key pair of an account, of which the person's device has the private half.
type passkey struct {
	ID        uuid.UUID
	Account   uuid.UUID
	Name      string
	Key       webauthn.Credential
	CreatedAt time.Time
	UsedAt    *time.Time
}

// newWebAuthn returns the rules of passkeys for a shop, whose pages are at one origin. Who
// signs in by passkey needs nothing else: so the device has to verify the person, by a PIN
// or a finger, and to keep the key, so that no name must be entered.
func newWebAuthn(shop *url.URL) (*webauthn.WebAuthn, error) {
	timeout := webauthn.TimeoutConfig{Enforce: true, Timeout: ceremonyLife, TimeoutUVD: ceremonyLife}
	return webauthn.New(&webauthn.Config{
		RPID: shop.Hostname(), RPDisplayName: shop.Host, RPOrigins: []string{shop.Scheme + "://" + shop.Host},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			RequireResidentKey: protocol.ResidentKeyRequired(), ResidentKey: protocol.ResidentKeyRequirementRequired,
			UserVerification: protocol.VerificationRequired,
		},
		Timeouts: webauthn.TimeoutsConfig{Login: timeout, Registration: timeout},
	})
}

// holder is an account as passkeys know it.
type holder struct {
	id   uuid.UUID
	name string
	keys []webauthn.Credential
}

// WebAuthnID is in the device, which gives it back at a sign-in.
func (h holder) WebAuthnID() []byte { return h.id[:] }

// WebAuthnName is what the device shows, unless the page that asks it has a better one: the
// address of the account is not known here.
func (h holder) WebAuthnName() string { return h.name }

// WebAuthnDisplayName is what the device shows.
func (h holder) WebAuthnDisplayName() string { return h.name }

// WebAuthnCredentials are the keys that the account has.
func (h holder) WebAuthnCredentials() []webauthn.Credential { return h.keys }

func (h holder) exclusions() []protocol.CredentialDescriptor {
	list := make([]protocol.CredentialDescriptor, len(h.keys))
	for i, k := range h.keys {
		list[i] = k.Descriptor()
	}
	return list
}

// passkeys are those of all accounts.
type passkeys struct {
	pool  *pgxpool.Pool
	rules *webauthn.WebAuthn
	kept  *ceremonies
	log   *slog.Logger
}

const selectPasskeys = `select id, account_id, name, credential, created_at, used_at from passkeys ` //nolint:gosec // SQL, no credentials

// list returns an account's, oldest first.
func (p *passkeys) list(ctx context.Context, db querier, account uuid.UUID) ([]passkey, error) {
	rows, err := db.Query(ctx, selectPasskeys+`where account_id = $1 order by created_at, id`, account)
	if err != nil {
		return nil, fmt.Errorf("list passkeys: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanPasskey)
	if err != nil {
		return nil, fmt.Errorf("list passkeys: %w", err)
	}
	return list, nil
}

func scanPasskey(row pgx.CollectableRow) (k passkey, err error) {
	var text []byte
	if err := row.Scan(&k.ID, &k.Account, &k.Name, &text, &k.CreatedAt, &k.UsedAt); err != nil {
		return k, err
	}
	if err := json.Unmarshal(text, &k.Key); err != nil {
		return k, fmt.Errorf("decode the key of passkey %s: %w", k.ID, err)
	}
	return k, nil
}

func (p *passkeys) holder(ctx context.Context, db querier, account uuid.UUID) (holder, error) {
	list, err := p.list(ctx, db, account)
	h := holder{id: account, name: p.rules.Config.RPDisplayName}
	for _, k := range list {
		h.keys = append(h.keys, k.Key)
	}
	return h, err
}

// beginAddition returns what the device must be asked for a new passkey.
func (p *passkeys) beginAddition(ctx context.Context, account uuid.UUID) (*protocol.CredentialCreation, begun, error) {
	h, err := p.holder(ctx, p.pool, account)
	if err != nil {
		return nil, begun{}, err
	}
	if len(h.keys) >= mostPasskeys {
		return nil, begun{}, errTooManyPasskeys()
	}
	options, session, err := p.rules.BeginRegistration(h, webauthn.WithExclusions(h.exclusions()))
	if err != nil {
		return nil, begun{}, fmt.Errorf("begin a passkey: %w", err)
	}
	b, err := p.kept.begin(ctx, passkeyAddition, &account, session)
	return options, b, err
}

func errTooManyPasskeys() error {
	return fault.New(fault.Conflict, "too_many_passkeys", "An account has at most %d passkeys; remove one first.", mostPasskeys)
}

// add keeps the passkey that the device has made.
func (p *passkeys) add(ctx context.Context, account uuid.UUID, name, secret string, answer []byte) (passkey, error) {
	var session webauthn.SessionData
	if err := p.kept.take(ctx, passkeyAddition, &account, secret, &session); err != nil {
		return passkey{}, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return passkey{}, errPasskeyRefused(err)
	}
	key, err := p.rules.CreateCredential(holder{id: account}, session, parsed)
	if err != nil {
		return passkey{}, errPasskeyRefused(err)
	}
	text, err := json.Marshal(key)
	if err != nil {
		return passkey{}, fmt.Errorf("encode the key: %w", err)
	}
	k := passkey{ID: uuid.New(), Account: account, Name: name, Key: *key}
	err = pgtx.Run(ctx, p.pool, func(ctx context.Context, tx pgx.Tx) error {
		owner, err := lockAccount(ctx, tx, account)
		if err != nil {
			return err
		}
		if owner == nil {
			return noAccount()
		}
		if err := checkSession(ctx, tx, account); err != nil {
			return err
		}
		list, err := p.list(ctx, tx, account)
		if err != nil {
			return err
		}
		if len(list) >= mostPasskeys {
			return errTooManyPasskeys()
		}
		return tx.QueryRow(ctx, `
			insert into passkeys (id, account_id, name, credential_id, credential)
			values ($1, $2, $3, $4, $5) returning created_at`, k.ID, account, name, key.ID, text).Scan(&k.CreatedAt)
	})
	if pgtx.Violates(err, "passkeys_credential_id_key") {
		return passkey{}, fault.New(fault.Conflict, "passkey_exists", "This passkey is registered already.")
	}
	if err != nil {
		return passkey{}, fmt.Errorf("keep the passkey: %w", err)
	}
	return k, nil
}

// beginSignIn returns what a device must be asked, no matter whose it is.
func (p *passkeys) beginSignIn(ctx context.Context) (*protocol.CredentialAssertion, begun, error) {
	options, session, err := p.rules.BeginDiscoverableLogin()
	if err != nil {
		return nil, begun{}, fmt.Errorf("begin a sign-in by passkey: %w", err)
	}
	b, err := p.kept.begin(ctx, passkeySignIn, nil, session)
	return options, b, err
}

// signIn returns whose passkey answered, and notes its use.
func (p *passkeys) signIn(ctx context.Context, secret string, answer []byte) (account uuid.UUID, err error) {
	var session webauthn.SessionData
	if err := p.kept.take(ctx, passkeySignIn, nil, secret, &session); err != nil {
		return uuid.Nil, err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return uuid.Nil, errPasskeyRefused(err)
	}
	err = pgtx.Run(ctx, p.pool, func(ctx context.Context, tx pgx.Tx) error {
		account, err = p.verify(ctx, tx, session, parsed)
		return err
	})
	return account, err
}

// verify locks the passkey. A counter that does not go up means that somebody has copied
// the key: neither of the two is let in by it.
func (p *passkeys) verify(ctx context.Context, tx pgx.Tx, session webauthn.SessionData, parsed *protocol.ParsedCredentialAssertionData) (uuid.UUID, error) {
	var found passkey
	_, key, err := p.rules.ValidatePasskeyLogin(func(rawID, _ []byte) (webauthn.User, error) {
		rows, err := tx.Query(ctx, selectPasskeys+`where credential_id = $1 for update`, rawID)
		if err != nil {
			return nil, err
		}
		found, err = pgx.CollectExactlyOneRow(rows, scanPasskey)
		return holder{id: found.Account, keys: []webauthn.Credential{found.Key}}, err
	}, session, parsed)
	if err != nil {
		if pgtx.Transient(err) {
			return uuid.Nil, err
		}
		return uuid.Nil, errPasskeyRefused(err)
	}
	if key.Authenticator.CloneWarning {
		p.log.WarnContext(ctx, "the counter of a passkey did not go up: its key was copied", "passkey_id", found.ID, "account_id", found.Account)
		return uuid.Nil, errPasskeyRefused(errors.New("the counter did not go up"))
	}
	text, err := json.Marshal(key)
	if err != nil {
		return uuid.Nil, fmt.Errorf("encode the key: %w", err)
	}
	if _, err := tx.Exec(ctx, `update passkeys set credential = $2, used_at = now() where id = $1`, found.ID, text); err != nil {
		return uuid.Nil, fmt.Errorf("note the use of the passkey: %w", err)
	}
	return found.Account, nil
}

func errPasskeyRefused(cause error) error {
	f := fault.New(fault.Unauthorized, "passkey_refused", "This passkey is not accepted here.")
	f.Cause = cause
	return f
}
