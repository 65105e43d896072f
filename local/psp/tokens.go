package main

import (
	"sync"

	"quadrille.internal/local/psp/ledger"
	"quadrille.internal/local/standin"
)

// token says how a charge with this source goes.
type token struct {
	decline          *ledger.Decline
	slow             bool
	refusal          *standin.Error // the answer to the first refusals requests of a key
	refusals         int
	losesChargeReply bool
	losesRefundReply bool
}

var tokens = map[string]token{
	"tok_success": {},
	"tok_decline": {decline: &ledger.Decline{
		Code: "card_declined", Message: "Your card was declined.",
	}},
	"tok_insufficient_funds": {decline: &ledger.Decline{
		Code: "insufficient_funds", Message: "Your card has insufficient funds.",
	}},
	"tok_slow":              {slow: true},
	"tok_flaky":             {refusal: errInternal, refusals: 2},
	"tok_rate_limited":      {refusal: errRateLimited, refusals: 1},
	"tok_lost_reply":        {losesChargeReply: true},
	"tok_lost_reply_refund": {losesRefundReply: true},
}

// refusals counts, per idempotency key, the requests turned away before they
// did anything. It forgets a key once it is let through, and all on a restart.
type refusals struct {
	mu   sync.Mutex
	seen map[string]int
}

// next returns the refusal that is due to this key, or nil to let it through.
func (f *refusals) next(key string, t token) error {
	if t.refusals == 0 {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen[key] < t.refusals {
		f.seen[key]++
		return t.refusal
	}
	delete(f.seen, key)
	return nil
}
