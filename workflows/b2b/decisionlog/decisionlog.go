// Package decisionlog is the record of approvers' decisions: append-only, and each
// decision on an order sealed by the hash of the one before, so that those who read
// them can tell whether any was changed. docs/decisions/0013 says what that proves,
// and against whom.
package decisionlog

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Decision is an approver's, as recorded. The JSON names are the columns.
type Decision struct {
	OrderID    uuid.UUID `json:"order_id"`
	Seq        int       `json:"seq"`
	Approver   string    `json:"approver"`
	OnBehalfOf string    `json:"on_behalf_of"`
	Verdict    string    `json:"verdict"`
	Reason     string    `json:"reason"`
	// OrderHash is that of the order as it was decided on: Order.Hash. Where MAC is
	// empty it is the hash of the request that placed the order.
	OrderHash string `json:"order_hash"`
	// Source is api, or dapr for a decision raised as an event.
	Source    string    `json:"source"`
	DecidedAt time.Time `json:"decided_at"`
	PrevHash  string    `json:"prev_hash"`
	Hash      string    `json:"hash"`
	// RecordedAt and MAC are the database's: when it took the row, and its seal. Rows
	// from before there was a key have neither.
	RecordedAt *time.Time `json:"recorded_at,omitempty"`
	MAC        string     `json:"mac,omitempty"`
}

// ErrBroken says that decisions are not those that were recorded.
var ErrBroken = errors.New("the hash chain of the decisions is broken")

// Append seals a decision as the next of a chain, and returns it.
func Append(chain []Decision, d Decision) Decision {
	d.Seq, d.PrevHash = len(chain)+1, ""
	if n := len(chain); n > 0 {
		d.PrevHash = chain[n-1].Hash
	}
	d.Hash = d.seal()
	return d
}

// seal returns the hash of a decision, which includes that of the one before.
func (d *Decision) seal() string {
	return digest(
		d.OrderID.String(), strconv.Itoa(d.Seq), d.Approver, d.OnBehalfOf, d.Verdict, d.Reason, d.OrderHash,
		d.Source, d.DecidedAt.UTC().Format(time.RFC3339Nano), d.PrevHash)
}

// digest hashes fields, quoted: or a separator within one could shift the others.
func digest(fields ...string) string {
	for i, f := range fields {
		fields[i] = strconv.Quote(f)
	}
	sum := sha256.Sum256([]byte(strings.Join(fields, ",")))
	return hex.EncodeToString(sum[:])
}

// Check reports the first decision on an order, in order of Seq, that does not fit
// the one before or its own seal. That the last ones are missing it cannot see.
func Check(chain []Decision) error {
	prev := ""
	for i, d := range chain {
		if d.Seq != i+1 || d.PrevHash != prev || d.Hash != d.seal() {
			return fmt.Errorf("decision %d: %w", i+1, ErrBroken)
		}
		prev = d.Hash
	}
	return nil
}

// Key is the database's key, as the two blocks that HMAC-SHA256 makes of it.
type Key struct {
	InnerPad, OuterPad []byte
	// Since is when there first was a key. Decisions from before have no MAC.
	Since time.Time
}

// CheckMACs reports the first decision that the database did not take in as it is
// now, or not about when it was made.
func (k *Key) CheckMACs(chain []Decision) error {
	for _, d := range chain {
		switch {
		case d.MAC == "" && d.RecordedAt == nil && d.DecidedAt.Before(k.Since) && !d.Current():
		case d.RecordedAt == nil || !hmac.Equal([]byte(d.MAC), []byte(k.mac(d))):
			return fmt.Errorf("decision %d does not have the seal of the database: %w", d.Seq, ErrBroken)
		case d.RecordedAt.Sub(d.DecidedAt).Abs() > mostApart:
			return fmt.Errorf("decision %d is of %s, but was recorded at %s: %w", d.Seq,
				d.DecidedAt.UTC().Format(time.RFC3339), d.RecordedAt.UTC().Format(time.RFC3339), ErrBroken)
		}
	}
	return nil
}

// mostApart is how far the clocks of service and database, and a slow transaction,
// may set the two times of a decision apart.
const mostApart = 5 * time.Minute

// mac is what the trigger decisions_sealed computes.
func (k *Key) mac(d Decision) string {
	text := d.Hash + "," + strconv.FormatInt(d.RecordedAt.UnixMicro(), 10)
	inner := sha256.Sum256(append(append([]byte{}, k.InnerPad...), text...))
	outer := sha256.Sum256(append(append([]byte{}, k.OuterPad...), inner[:]...))
	return hex.EncodeToString(outer[:])
}
