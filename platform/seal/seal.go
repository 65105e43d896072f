// Package seal encrypts what a service keeps (AES-256-GCM), by a master key that is not in
// its database: who has a copy of the database alone cannot read it.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"quadrille.internal/platform/config"
)

// Setting names the setting with the master key, 32 random bytes in hexadecimal. With
// "_BEFORE" it is the one before, which only opens.
const Setting = "QUADRILLE_MASTER_KEY"

const (
	keySize = 32
	idSize  = 4
)

// ErrSealed says that something cannot be opened: its master key is not set, or it was
// changed, or sealed for another place.
var ErrSealed = errors.New("cannot be opened: it was changed, or its master key is not set (" + Setting + "_BEFORE holds the one before)")

// Box seals by the master key, and opens what was sealed by it or the one before.
type Box struct{ keys []masterKey }

type masterKey struct {
	id   [idSize]byte
	aead cipher.AEAD
}

// Read reads the master keys from a service's settings, where it notes what is wrong.
func Read(r *config.Reader) *Box {
	current := r.Own().About("the master key: 32 random bytes in hexadecimal").Secret(Setting)
	before := r.Own().About("the master key before, until everything is sealed by the new one").OptionalSecret(Setting + "_BEFORE")
	box, err := New(current.Reveal(), before.Reveal())
	if err != nil && current.Reveal() != "" {
		r.Fault(Setting, err)
	}
	return box
}

// New makes a Box of master keys in hexadecimal. before may be "".
func New(current, before string) (*Box, error) {
	b := &Box{}
	for _, text := range []string{current, before} {
		if text == "" && len(b.keys) > 0 {
			continue
		}
		raw, err := hex.DecodeString(text)
		if err != nil || len(raw) != keySize {
			return b, fmt.Errorf("want %d random bytes in hexadecimal, for instance of openssl rand -hex %[1]d", keySize)
		}
		block, err := aes.NewCipher(raw)
		if err != nil {
			return b, fmt.Errorf("make a cipher: %w", err)
		}
		// A nonce of 96 random bits is safe for 2^32 messages by one key.
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return b, fmt.Errorf("make a cipher: %w", err)
		}
		sum := sha256.Sum256(append([]byte("quadrille master key "), raw...))
		b.keys = append(b.keys, masterKey{[idSize]byte(sum[:idSize]), aead})
	}
	return b, nil
}

// Seal seals plain for a place, such as "signing key k1": only there it can be opened.
func (b *Box) Seal(place string, plain []byte) []byte {
	k := b.keys[0]
	return append(k.id[:], k.aead.Seal(nil, nil, plain, []byte(place))...) //nolint:gosec // the cipher makes its own nonce
}

// KeyID is how everything begins that the master key of now seals.
func (b *Box) KeyID() []byte { return b.keys[0].id[:] }

// Open returns what was sealed for a place, or ErrSealed.
func (b *Box) Open(place string, sealed []byte) ([]byte, error) {
	if len(sealed) < idSize {
		return nil, ErrSealed
	}
	for _, k := range b.keys {
		if k.id != [idSize]byte(sealed[:idSize]) {
			continue
		}
		if plain, err := k.aead.Open(nil, nil, sealed[idSize:], []byte(place)); err == nil {
			return plain, nil
		}
	}
	return nil, ErrSealed
}
