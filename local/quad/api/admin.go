package api

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"
)

// Admin calls the admin port of one service.
type Admin struct {
	url    string
	caller caller
}

// NewAdmin returns a client; token is the operators' of that service.
func NewAdmin(url, token string) *Admin {
	return &Admin{url: url, caller: newCaller(0, bearer(token))}
}

func bearer(token string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + token}
}

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

// Parked lists the parked events, oldest first, up to a thousand.
func (a *Admin) Parked(ctx context.Context) ([]Parked, error) {
	list, err := call[struct {
		Parked []Parked `json:"parked"`
	}](ctx, a.caller, request{method: http.MethodGet, url: a.url + "/parked?limit=1000"})
	return list.Parked, err
}

// ParkedEvent returns one of them.
func (a *Admin) ParkedEvent(ctx context.Context, id uuid.UUID) (Parked, error) {
	return call[Parked](ctx, a.caller, request{method: http.MethodGet, url: a.url + "/parked/" + id.String()})
}

// Replay has the service handle a parked event once more.
func (a *Admin) Replay(ctx context.Context, id uuid.UUID) error {
	_, err := call[struct{}](ctx, a.caller, request{method: http.MethodPost, url: a.url + "/parked/" + id.String() + "/replay"})
	return err
}
