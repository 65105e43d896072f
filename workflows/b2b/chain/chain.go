// Package chain is the record of approvers' decisions: append-only, and each
// decision on an order sealed by the hash of the one before, so that whoever reads
// them can tell whether any was changed.
package chain

import (
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
	// OrderHash is the order as it was decided on.
	OrderHash string `json:"order_hash"`
	// Source is api, or dapr for a decision raised as an event.
	Source    string    `json:"source"`
	DecidedAt time.Time `json:"decided_at"`
	PrevHash  string    `json:"prev_hash"`
	Hash      string    `json:"hash"`
}

// ErrBroken says that decisions are not those that were recorded.
var ErrBroken = errors.New("the chain is broken")

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
	fields := []string{
		d.OrderID.String(), strconv.Itoa(d.Seq), d.Approver, d.OnBehalfOf, d.Verdict, d.Reason, d.OrderHash,
		d.Source, d.DecidedAt.UTC().Format(time.RFC3339Nano), d.PrevHash,
	}
	for i, f := range fields {
		fields[i] = strconv.Quote(f) // or a separator within a reason could shift the fields
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
