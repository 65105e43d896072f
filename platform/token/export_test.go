package token

import (
	"context"
	"time"
)

// SetClock has the verifier read another clock.
func (v *Verifier) SetClock(now func() time.Time) { v.now = now }

// Forget empties what the verifier remembers.
func (v *Verifier) Forget() { v.kept.young, v.kept.aged = nil, nil }

// Refresh fetches the keys now.
func (r *Remote) Refresh(ctx context.Context) error { return r.refresh(ctx, 0) }

// SetClock has the keys read another clock.
func (r *Remote) SetClock(now func() time.Time) { r.now = now }

// CoolDown and MaxWaiting are those of Remote.
const (
	CoolDown   = coolDown
	MaxWaiting = maxWaiting
)

// CloseIdle closes connections that are kept.
func (r *Remote) CloseIdle() { r.client.CloseIdleConnections() }
