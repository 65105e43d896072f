// Package idempotency is what all POST requests with an Idempotency-Key have in
// common: sent again, with the same key, they have their effect once.
//
// The table is the service's own. It holds the key, unique for each caller by a
// constraint, and the hash of the request, in the row of what the request made and
// written with it: so there is no second round trip, and nothing to expire. A request
// that meets a key
//
//   - of the same request gets what that one made, also while that is still under way;
//   - of another one is refused, with Check.
package idempotency

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"regexp"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/pgtx"
)

// Header holds the key.
const Header = "Idempotency-Key"

var pattern = regexp.MustCompile(`^[\x21-\x7e]{1,255}$`)

// Key returns the request's key.
func Key(r *http.Request) (string, error) {
	key := r.Header.Get(Header)
	if !pattern.MatchString(key) {
		return "", fault.Field(Header, "required", "Send header %s: 1 to 255 visible ASCII characters, new for each request, the same for each repetition.", Header)
	}
	return key, nil
}

// Hash is the SHA-256 of a request's body. In JSON it is the text of a bytea, and its
// String is hexadecimal, for a column of text.
type Hash []byte

// HashOf returns the hash of a body, byte for byte.
func HashOf(body []byte) Hash {
	sum := sha256.Sum256(body)
	return sum[:]
}

// String returns the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h) }

// MarshalJSON gives PostgreSQL's text form of a bytea.
func (h Hash) MarshalJSON() ([]byte, error) { return json.Marshal(`\x` + h.String()) }

// Check refuses a request whose key an earlier one has that was not the same.
func Check(same bool) error {
	if same {
		return nil
	}
	f := fault.New(fault.Unprocessable, "idempotency_mismatch", "This %s was used for another request.", Header)
	f.Field = Header
	return f
}

// attempts bounds Once: a key that is taken is there from then on.
const attempts = 3

// Once runs a transaction that looks for the key and, where there is none, makes what
// is asked for. If a request with the same key was faster, which is to say that the
// constraint of the key is violated, it runs again and finds what that one made.
func Once(constraint string, tx func() error) error {
	err := tx()
	for n := 1; n < attempts && pgtx.Violates(err, constraint); n++ {
		err = tx()
	}
	return err
}
