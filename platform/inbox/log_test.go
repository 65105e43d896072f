package inbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/telemetry"
)

// lines are what was logged; the inbox logs from several goroutines.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// What is logged of an event says which order it is about, and which trace it is part of.
func TestLogsSayWhichOrderAndTrace(t *testing.T) {
	fails := func(context.Context, *outbox.Tx, []inbox.Delivery) error { return errors.New("no such luck") }
	w, out := newWorld(t, fails), new(lines)
	w.inbox = inbox.New(inbox.Config{
		Consumer: consumer, Pool: w.pool, Outbox: w.outbox, Handler: fails, Log: telemetry.NewLog(out, slog.LevelInfo, consumer),
	})
	run(t, w.inbox)
	id := uuid.New()
	raw, err := events.Encode(uuid.New(), "payment", time.Now(), trace, payment.Completed{
		OfOrder: events.OfOrder{OrderID: id}, ChargeID: "ch_1", Amount: events.Money{Amount: 1, Currency: "GBP"},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.deliver(inbox.Done, raw)
	out.mu.Lock()
	defer out.mu.Unlock()
	var line struct {
		Msg     string    `json:"msg"`
		OrderID uuid.UUID `json:"order_id"`
		TraceID string    `json:"trace_id"`
	}
	if err := json.Unmarshal(out.text.Bytes(), &line); err != nil || line.OrderID != id || line.TraceID != traceID {
		t.Errorf("logged %s (%v), want order %s and trace %s", out.text.Bytes(), err, id, traceID)
	}
}
