package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Admin calls the admin port of one service.
type Admin struct {
	access Access
	sender sender
}

// NewAdmin returns a client; the token is the operators' of that service.
func NewAdmin(a Access) *Admin { return &Admin{access: a, sender: newSender(0)} }

// Close ends the client's idle connections.
func (a *Admin) Close() { a.sender.http.CloseIdleConnections() }

// Parked is an event a service could not handle.
type Parked struct {
	Consumer    string    `json:"consumer"`
	EventID     uuid.UUID `json:"event_id"`
	Topic       string    `json:"topic"`
	Cause       string    `json:"cause"`
	Attempts    int       `json:"attempts"`
	TraceParent string    `json:"traceparent"`
	Payload     []byte    `json:"payload"`
	ParkedAt    time.Time `json:"parked_at"`
	TriedAt     time.Time `json:"tried_at"`
}

// ParkedPage is a part of the list of parked events, oldest first.
type ParkedPage struct {
	Parked []Parked `json:"parked"`
	// Next is the after of the next page; "" is none.
	Next string `json:"next"`
	// Stopped says why events that fail are not parked now, or is "".
	Stopped string `json:"stopped"`
}

// Parked returns up to limit (1,000 at most) of the events that were parked when the
// list was begun, those behind after, which is the Next of another page or "".
func (a *Admin) Parked(ctx context.Context, after string, limit int) (ParkedPage, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if after != "" {
		query.Set("after", after)
	}
	return call[ParkedPage](ctx, a.sender, a.access.request(http.MethodGet, "/parked?"+query.Encode()))
}

// ParkedEvent returns one of them.
func (a *Admin) ParkedEvent(ctx context.Context, id uuid.UUID) (Parked, error) {
	return call[Parked](ctx, a.sender, a.access.request(http.MethodGet, "/parked/"+id.String()))
}

// Replay has the service handle a parked event once more.
func (a *Admin) Replay(ctx context.Context, id uuid.UUID) error {
	_, err := call[struct{}](ctx, a.sender, a.access.request(http.MethodPost, "/parked/"+id.String()+"/replay"))
	return err
}

// Discard gives a parked event up. It is kept with who did so and why.
func (a *Admin) Discard(ctx context.Context, id uuid.UUID, by, reason string) error {
	r := a.access.request(http.MethodPost, "/parked/"+id.String()+"/discard")
	r.body = map[string]string{"by": by, "reason": reason}
	_, err := call[struct{}](ctx, a.sender, r)
	return err
}

// AcceptParking has up to limit (1,000 at most) of the events parked that fail now and
// are held back, and returns how many these are.
func (a *Admin) AcceptParking(ctx context.Context, limit int) (int, error) {
	answer, err := call[struct {
		Accepted int `json:"accepted"`
	}](ctx, a.sender, a.access.request(http.MethodPost, "/parked/accept?limit="+strconv.Itoa(limit)))
	return answer.Accepted, err
}
