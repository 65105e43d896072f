// Package ledger is the payment provider's memory: charges, refunds and the
// outcome of every idempotency key, in one append-only file.
//
// An outcome becomes visible only once it is on disk, and in the order of the
// file, so that what a caller has seen survives any crash unchanged.
package ledger

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"quadrille.internal/local/standin/index"
	"quadrille.internal/local/standin/journal"
)

var (
	// ErrKeyReused reports an idempotency key that belongs to another request.
	ErrKeyReused = errors.New("idempotency key belongs to a different request")
	// ErrKeyInFlight reports an idempotency key whose first request still runs.
	ErrKeyInFlight = errors.New("idempotency key is in flight")
	// ErrNoSuchCharge reports a refund of a charge that does not exist.
	ErrNoSuchCharge = errors.New("no such charge")
	// ErrOverRefund reports a refund of more than is left of the charge.
	ErrOverRefund = errors.New("refund exceeds what is left of the charge")
)

// orderKey is the metadata entry by which charges and refunds can be listed.
const orderKey = "order_id"

// Charge is money taken. Amounts are minor units of Currency.
type Charge struct {
	ID             string            `json:"id"`
	Status         string            `json:"status"`
	Amount         int64             `json:"amount"`
	AmountRefunded int64             `json:"amount_refunded"`
	Currency       string            `json:"currency"`
	Source         string            `json:"source"`
	Metadata       map[string]string `json:"metadata"`
	Created        int64             `json:"created"`
}

// Refund is money given back on a charge, all of it or a part.
type Refund struct {
	ID       string `json:"id"`
	Status   string `json:"status"`
	Charge   string `json:"charge"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
	Reason   string `json:"reason,omitempty"`
	Created  int64  `json:"created"`
}

// Decline is a charge the card's bank refused; Message may be shown to the customer.
type Decline struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Cancellation uses up a key before any request did, so that none can any more.
type Cancellation struct {
	Status  string `json:"status"`
	Created int64  `json:"created"`
}

// Outcome is what an idempotency key led to: exactly one field is set. It is
// the first answer: a charge refunded later still replays as not refunded.
type Outcome struct {
	Charge       *Charge       `json:"charge,omitempty"`
	Refund       *Refund       `json:"refund,omitempty"`
	Decline      *Decline      `json:"decline,omitempty"`
	Cancellation *Cancellation `json:"cancellation,omitempty"`
}

// record is one line of the state file.
type record struct {
	Key         string `json:"key"`
	Fingerprint string `json:"fingerprint"`
	Outcome
}

// keyState is an idempotency key in use; outcome is nil while it is in flight.
type keyState struct {
	fingerprint string
	outcome     *Outcome
}

// account is a charge with what has happened to it since.
type account struct {
	charge   Charge
	refunded int64 // durable refunds
	pledged  int64 // refunded, plus refunds on their way to the disk
}

// Ledger is safe for concurrent use.
type Ledger struct {
	journal *journal.Journal
	now     func() time.Time

	mu       sync.RWMutex
	keys     map[string]keyState
	charges  index.Index[*account]
	refunds  index.Index[Refund]
	declines map[string]int
	totals   map[string]Total
}

// Open reads the state file at path, or creates it, and locks it against any
// other server until Close.
func Open(path string, now func() time.Time, log *slog.Logger) (*Ledger, error) {
	l := &Ledger{
		now:      now,
		keys:     map[string]keyState{},
		charges:  index.New[*account](),
		refunds:  index.New[Refund](),
		declines: map[string]int{},
		totals:   map[string]Total{},
	}
	j, err := journal.Open(path, log, l.replay)
	if err != nil {
		return nil, err
	}
	l.journal = j
	return l, nil
}

// Close writes what is waiting and gives up the lock.
func (l *Ledger) Close() error { return l.journal.Close() }

// Failed is closed once the state file could not be written. From then on the
// ledger accepts nothing: what reached the disk is known only after a restart.
func (l *Ledger) Failed() <-chan struct{} { return l.journal.Failed() }

// Claim reserves the key for one request. For a key that already led to an
// outcome it returns that outcome instead. The caller ends a claim with
// Charge, Refund or Decline, and always with Release.
func (l *Ledger) Claim(key, fingerprint string) (*Claim, *Outcome, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	state, used := l.keys[key]
	switch {
	case !used:
		l.keys[key] = keyState{fingerprint: fingerprint}
		return &Claim{ledger: l, key: key, fingerprint: fingerprint}, nil, nil
	case state.outcome != nil && state.outcome.Cancellation != nil:
		return nil, state.outcome, nil // whatever the request
	case state.fingerprint != fingerprint:
		return nil, nil, ErrKeyReused
	case state.outcome == nil:
		return nil, nil, ErrKeyInFlight
	default:
		return nil, state.outcome, nil
	}
}

// Cancel uses up a key that led to no outcome yet. For one that did it returns that
// outcome, and ErrKeyInFlight while a request with it runs.
func (l *Ledger) Cancel(key string) (*Outcome, error) {
	l.mu.Lock()
	state, used := l.keys[key]
	if used {
		defer l.mu.Unlock()
		if state.outcome == nil {
			return nil, ErrKeyInFlight
		}
		return state.outcome, nil
	}
	l.keys[key] = keyState{}
	l.mu.Unlock()
	claim := &Claim{ledger: l, key: key}
	defer claim.Release()
	return claim.settle(Outcome{Cancellation: &Cancellation{Status: "canceled", Created: l.now().Unix()}})
}

// Claim is the right to decide the outcome of one idempotency key.
type Claim struct {
	ledger      *Ledger
	key         string
	fingerprint string
}

// Release frees a key that led to no outcome; it does nothing to any other.
func (c *Claim) Release() {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	if c.ledger.keys[c.key].outcome == nil {
		delete(c.ledger.keys, c.key)
	}
}

// Charge takes the money. The outcome is durable when it returns.
func (c *Claim) Charge(amount int64, currency, source string, metadata map[string]string) (*Outcome, error) {
	return c.settle(Outcome{Charge: &Charge{
		ID:       "ch_" + rand.Text(),
		Status:   "succeeded",
		Amount:   amount,
		Currency: currency,
		Source:   source,
		Metadata: metadata,
		Created:  c.ledger.now().Unix(),
	}})
}

// Decline records that the charge was refused.
func (c *Claim) Decline(d Decline) (*Outcome, error) {
	return c.settle(Outcome{Decline: &d})
}

// Refund gives back amount, or what is left of the charge when amount is 0.
// Fails with ErrNoSuchCharge or ErrOverRefund.
func (c *Claim) Refund(chargeID string, amount int64, reason string) (*Outcome, error) {
	refund, err := c.ledger.pledge(chargeID, amount)
	if err != nil {
		return nil, err
	}
	refund.ID = "re_" + rand.Text()
	refund.Status = "succeeded"
	refund.Reason = reason
	refund.Created = c.ledger.now().Unix()
	return c.settle(Outcome{Refund: &refund})
}

// pledge sets the amount aside before the refund is durable, so that refunds
// racing each other cannot spend it twice. It is never returned: a refund that
// cannot be written has broken the journal, and with it the whole ledger.
func (l *Ledger) pledge(chargeID string, amount int64) (Refund, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	acc, ok := l.charges.Get(chargeID)
	if !ok {
		return Refund{}, ErrNoSuchCharge
	}
	left := acc.charge.Amount - acc.pledged
	if amount == 0 {
		amount = left
	}
	if left == 0 || amount > left {
		return Refund{}, ErrOverRefund
	}
	acc.pledged += amount
	return Refund{Charge: chargeID, Amount: amount, Currency: acc.charge.Currency}, nil
}

func (c *Claim) settle(o Outcome) (*Outcome, error) {
	rec := record{Key: c.key, Fingerprint: c.fingerprint, Outcome: o}
	line, err := json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("encode outcome: %w", err)
	}
	if err := c.ledger.journal.Append(line, func() { c.ledger.apply(rec) }); err != nil {
		return nil, fmt.Errorf("write outcome: %w", err)
	}
	return &o, nil
}

// replay applies a line read back at start. A line that cannot follow from the
// ones before it means a damaged file, which must not be built upon.
func (l *Ledger) replay(line []byte) error {
	var rec record
	if err := json.Unmarshal(line, &rec); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	if _, used := l.keys[rec.Key]; used || rec.Key == "" {
		return fmt.Errorf("idempotency key %q is empty or used twice", rec.Key)
	}
	switch {
	case rec.Charge != nil, rec.Decline != nil, rec.Cancellation != nil:
	case rec.Refund == nil:
		return errors.New("no outcome")
	default:
		if _, ok := l.charges.Get(rec.Refund.Charge); !ok {
			return fmt.Errorf("refund %s: %w", rec.Refund.ID, ErrNoSuchCharge)
		}
	}
	l.apply(rec)
	return nil
}

// apply makes a durable record visible.
func (l *Ledger) apply(rec record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keys[rec.Key] = keyState{fingerprint: rec.Fingerprint, outcome: &rec.Outcome}
	switch {
	case rec.Charge != nil:
		c := *rec.Charge
		l.charges.Add(c.ID, c.Metadata[orderKey], &account{charge: c})
		l.count(c.Currency, Total{Charges: 1, Charged: c.Amount})
	case rec.Refund != nil:
		r := *rec.Refund
		acc, _ := l.charges.Get(r.Charge)
		acc.refunded += r.Amount
		acc.pledged = max(acc.pledged, acc.refunded) // nothing was pledged when replaying
		l.refunds.Add(r.ID, acc.charge.Metadata[orderKey], r)
		l.count(r.Currency, Total{Refunds: 1, Refunded: r.Amount})
	case rec.Decline != nil:
		l.declines[rec.Decline.Code]++
	}
}
