package inbox_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/telemetry"
)

// An event that happened ten seconds ago took ten seconds to arrive, and moments to be
// handled. What cannot be read has no times.
func TestWhereTheTimeOfEventsGoes(t *testing.T) {
	w, metrics := newWorld(t, note), telemetry.NewMetrics(consumer)
	w.inbox = inbox.New(inbox.Config{
		Consumer: consumer, Pool: w.pool, Outbox: w.outbox, Handler: note, Log: slog.New(slog.DiscardHandler),
		Timings: inbox.NewTimings(metrics),
	})
	run(t, w.inbox)
	raw, err := events.Encode(uuid.New(), "payment", time.Now().Add(-10*time.Second), trace, payment.Completed{
		OfOrder: events.OfOrder{OrderID: uuid.New()}, ChargeID: "ch_1", Amount: events.Money{Amount: 1, Currency: "GBP"},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.deliver(inbox.Done, raw)
	w.deliver(inbox.Done, []byte("rubbish"))

	answer := httptest.NewRecorder()
	metrics.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	if want := `quadrille_inbox_delivery_seconds_count{service="order",topic="payment.completed"} 2` + "\n"; !strings.Contains(answer.Body.String(), want) {
		t.Errorf("the metrics lack %s", want)
	}
	if want := `quadrille_inbox_batch_size_sum{service="order"} 1` + "\n"; !strings.Contains(answer.Body.String(), want) {
		t.Errorf("the metrics lack %s", want)
	}
	for part, within := range map[string][2]float64{"arrival": {10, 70}, "wait": {0, 60}, "transaction": {0, 60}} {
		name := `quadrille_inbox_` + part + `_seconds_`
		labels := `\{service="order",topic="payment.completed"\} `
		sum := regexp.MustCompile(name + `sum` + labels + `(\S+)`).FindStringSubmatch(answer.Body.String())
		if sum == nil || !regexp.MustCompile(name+`count`+labels+`1\n`).MatchString(answer.Body.String()) {
			t.Errorf("%s was not told once", part)
			continue
		}
		if seconds, err := strconv.ParseFloat(sum[1], 64); err != nil || seconds <= within[0] || seconds > within[1] {
			t.Errorf("%s took %s s, want between %v", part, sum[1], within)
		}
	}
}
