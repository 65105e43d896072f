package outbox_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"quadrille.internal/events/payment"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/telemetry"
)

// Each event that is published from memory is timed in each part of its way, once. What
// comes from the table has waited for something else.
func TestWhereTheTimeOfEventsGoes(t *testing.T) {
	pool, b := openPool(t), newBroker()
	cfg := config(pool, b)
	commit(t, outbox.New(cfg), 4) // its Run never comes
	cfg.Lease = time.Minute
	metrics := telemetry.NewMetrics("payment")
	cfg.Timings = outbox.NewTimings(metrics)
	o := outbox.New(cfg)
	commit(t, o, 20)
	eventually(t, "the first lease ends", func() bool {
		var ended bool
		err := pool.QueryRow(t.Context(), `select exists (select from outbox where leased_until < clock_timestamp())`).Scan(&ended)
		return err == nil && ended
	})
	start(t, o)
	eventually(t, "all are published and removed", empty(t, pool))

	answer := httptest.NewRecorder()
	metrics.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	for _, part := range []string{"commit", "queue", "publish"} {
		want := fmt.Sprintf(`quadrille_outbox_%s_seconds_count{service="payment",topic=%q} 20`, part, payment.TypeCompleted)
		if !strings.Contains(answer.Body.String(), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	for _, want := range []string{
		// Those from the table are as late as they are.
		fmt.Sprintf(`quadrille_outbox_lag_seconds_count{service="payment",topic=%q} 24`, payment.TypeCompleted),
		fmt.Sprintf(`quadrille_outbox_batch_size_sum{service="payment",topic=%q} 24`, payment.TypeCompleted),
	} {
		if !strings.Contains(answer.Body.String(), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	// The four from the table may travel alone or in company.
	calls := regexp.MustCompile(`quadrille_outbox_call_seconds_count\{service="payment",topic="payment.completed"\} [1-9]`)
	if !calls.MatchString(answer.Body.String()) {
		t.Error("the metrics lack the publish calls")
	}
}
