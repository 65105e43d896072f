package identity

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"quadrille.internal/platform/fault"
)

// cost is what argon2id costs. Memory is in KiB.
type cost struct {
	memory, passes uint32
	lanes          uint8
}

// standard is what OWASP names first for one lane with little memory.
var standard = cost{memory: 19 << 10, passes: 2, lanes: 1}

const (
	saltSize, hashSize = 16, 32
	// maxHashing are the most passwords that wait for their turn. The next one is refused.
	maxHashing = 64
	// hashWait is how long one waits at most.
	hashWait = 3 * time.Second
	// maxMemory bounds what a stored hash may ask for, in KiB.
	maxMemory = 256 << 10
)

// hasher hashes passwords with argon2id, a few at a time: each takes the memory of its cost.
type hasher struct {
	cost  cost
	turn  chan struct{}
	queue chan struct{}
	// absent is a hash that no password has, for accounts that do not exist.
	absent string
	runs   atomic.Int64
}

// newHasher returns a hasher that uses up to memory MiB.
func newHasher(c cost, memory int) *hasher {
	return &hasher{
		cost: c, turn: make(chan struct{}, max(1, memory<<10/int(c.memory))), queue: make(chan struct{}, maxHashing),
		absent: c.encode(randomBytes(saltSize), randomBytes(hashSize)),
	}
}

// hash returns the hash of a password, with its salt and cost.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	salt := randomBytes(saltSize)
	sum, err := h.run(ctx, h.cost, password, salt, hashSize)
	if err != nil {
		return "", err
	}
	return h.cost.encode(salt, sum), nil
}

// check reports whether a password has a hash. An empty hash is that of an account that
// does not exist or has no password: nothing is right, at the same expense. stale says that
// the hash should be replaced by a new one, since the cost has changed.
func (h *hasher) check(ctx context.Context, hash, password string) (right, stale bool, err error) {
	exists := hash != ""
	if !exists {
		hash = h.absent
	}
	c, salt, want, err := parseHash(hash)
	if err != nil {
		return false, false, err
	}
	got, err := h.run(ctx, c, password, salt, len(want))
	if err != nil {
		return false, false, err
	}
	right = subtle.ConstantTimeCompare(got, want) == 1 && exists
	return right, right && c != h.cost, nil
}

// run computes one hash when it is its turn.
func (h *hasher) run(ctx context.Context, c cost, password string, salt []byte, size int) ([]byte, error) {
	select {
	case h.queue <- struct{}{}:
		defer func() { <-h.queue }()
	default:
		return nil, tooManyPasswords()
	}
	wait := time.NewTimer(hashWait)
	defer wait.Stop()
	select {
	case h.turn <- struct{}{}:
		defer func() { <-h.turn }()
	case <-wait.C:
		return nil, tooManyPasswords()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	h.runs.Add(1)
	return argon2.IDKey([]byte(password), salt, c.passes, c.memory, c.lanes, uint32(size)), nil //nolint:gosec // some bytes
}

func tooManyPasswords() error {
	return fault.New(fault.Unavailable, "overloaded", "Too many people sign in at the moment; try again shortly.")
}

// encode writes a hash in the usual form of the PHC.
func (c cost) encode(salt, sum []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.memory, c.passes, c.lanes,
		b64.EncodeToString(salt), b64.EncodeToString(sum))
}

func parseHash(hash string) (c cost, salt, sum []byte, err error) {
	part := strings.Split(hash, "$")
	var version int
	if len(part) != 6 || part[0] != "" || part[1] != "argon2id" {
		return c, nil, nil, fmt.Errorf("a stored password is not an argon2id hash")
	}
	if _, err = fmt.Sscanf(part[2], "v=%d", &version); err == nil {
		_, err = fmt.Sscanf(part[3], "m=%d,t=%d,p=%d", &c.memory, &c.passes, &c.lanes)
	}
	if err == nil {
		salt, err = base64.RawStdEncoding.DecodeString(part[4])
	}
	if err == nil {
		sum, err = base64.RawStdEncoding.DecodeString(part[5])
	}
	if err != nil || version != argon2.Version || c.memory > maxMemory || c.passes < 1 || c.lanes < 1 || len(sum) < hashSize {
		return c, nil, nil, fmt.Errorf("a stored password hash is malformed")
	}
	return c, salt, sum, nil
}
