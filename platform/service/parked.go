package service

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/rest"
)

var parkedPages = rest.Pages{Default: 100, Most: 1_000}

// parkedPage is a part of the list of parked events.
type parkedPage struct {
	Parked []inbox.Parked `json:"parked"`
	// Next is the after of the next page, if there is one.
	Next string `json:"next,omitempty"`
	// Stopped says why events that fail are not parked now.
	Stopped string `json:"stopped,omitempty"`
}

func (s *Instance) listParked(w http.ResponseWriter, r *http.Request) error {
	limit, err := parkedPages.Limit(r)
	if err != nil {
		return err
	}
	after, err := parseCursor(r.URL.Query().Get("after"))
	if err != nil {
		return err
	}
	list, next, err := s.inbox.ListParked(r.Context(), after, limit)
	if err != nil {
		return err
	}
	page := parkedPage{Parked: list}
	if next != nil {
		page.Next = formatCursor(*next)
	}
	if err := s.inbox.Alarm(); err != nil {
		page.Stopped = err.Error()
	}
	return rest.Write(w, http.StatusOK, page)
}

// formatCursor writes a cursor with the times in microseconds, which is how exact
// PostgreSQL is.
func formatCursor(c inbox.Cursor) string {
	return fmt.Sprintf("%d.%s.%d", c.ParkedAt.UnixMicro(), c.EventID, c.Until.UnixMicro())
}

func parseCursor(v string) (inbox.Cursor, error) {
	if v == "" {
		return inbox.Cursor{}, nil
	}
	wrong := fault.Field("after", "malformed", "after is the next of the page before.")
	parts := strings.Split(v, ".")
	if len(parts) != 3 {
		return inbox.Cursor{}, wrong
	}
	at, err1 := strconv.ParseInt(parts[0], 10, 64)
	id, err2 := uuid.Parse(parts[1])
	until, err3 := strconv.ParseInt(parts[2], 10, 64)
	if errors.Join(err1, err2, err3) != nil || at < 0 || until < 1 {
		return inbox.Cursor{}, wrong
	}
	return inbox.Cursor{ParkedAt: time.UnixMicro(at), EventID: id, Until: time.UnixMicro(until)}, nil
}

func (s *Instance) getParked(w http.ResponseWriter, r *http.Request) error {
	id, err := parkedID(r)
	if err != nil {
		return err
	}
	parked, err := s.inbox.GetParked(r.Context(), id)
	if err != nil {
		return parkedFault(err)
	}
	return rest.Write(w, http.StatusOK, parked)
}

func (s *Instance) replayParked(w http.ResponseWriter, r *http.Request) error {
	id, err := parkedID(r)
	if err != nil {
		return err
	}
	if err := s.inbox.Replay(r.Context(), id); err != nil {
		return replayFault(err)
	}
	return rest.Write(w, http.StatusOK, map[string]any{"event_id": id, "replayed": true})
}

// discardParked takes an event away for good; it is kept with the reason.
func (s *Instance) discardParked(w http.ResponseWriter, r *http.Request) error {
	id, err := parkedID(r)
	if err != nil {
		return err
	}
	var body struct {
		By     string `json:"by"`
		Reason string `json:"reason"`
	}
	if _, err := rest.Decode(w, r, &body); err != nil {
		return err
	}
	err = s.inbox.Discard(r.Context(), id, body.By, body.Reason)
	if errors.Is(err, inbox.ErrNoReason) {
		return fault.Field("reason", "required", "Say who discards the event (by) and why (reason).")
	}
	if err != nil {
		return parkedFault(err)
	}
	return rest.Write(w, http.StatusOK, map[string]any{"event_id": id, "discarded": true})
}

// acceptParking has the events parked that fail now and are held back, though the
// fault may be ours.
func (s *Instance) acceptParking(w http.ResponseWriter, r *http.Request) error {
	limit, err := parkedPages.Limit(r)
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusOK, map[string]any{"accepted": s.inbox.AcceptParking(r.Context(), limit)})
}

func parkedID(r *http.Request) (uuid.UUID, error) {
	return rest.PathID(r, "An event id is a UUID.")
}

// parkedFault tells an event that is not there from trouble of ours.
func parkedFault(err error) error {
	if errors.Is(err, inbox.ErrNotParked) {
		return fault.New(fault.NotFound, "not_parked", "No such event is parked here.")
	}
	return err
}

// replayFault shows the operator why the handler refused again: this port is not
// the customer's.
func replayFault(err error) error {
	if errors.Is(err, inbox.ErrNotParked) || pgtx.Transient(err) {
		return parkedFault(err)
	}
	return &fault.Fault{Kind: fault.Unprocessable, Code: "replay_failed", Message: err.Error(), Cause: err}
}
