package b2b

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"quadrille.internal/workflows/b2b/wire"
)

// An order whose step fails again and again moves all the time, and is stuck.
func TestWatchdogListsAStepThatKeepsFailing(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	down := errors.New("ERP: status 503")
	failing, fresh := o.order("acme", 400), o.order("acme", 400)
	o.worker.stumble(t.Context(), stepERP, fresh, time.Now(), down)
	o.worker.stumble(t.Context(), stepERP, failing, time.Now(), down)
	o.exec(`update orders set steps = jsonb_set(steps, '{0,started_at}', to_jsonb(now() - interval '1 minute')) where id = $1`, failing.OrderID)
	o.worker.stumble(t.Context(), stepERP, failing, time.Now(), down)

	routes := chi.NewRouter()
	(&server{pool: o.Pool, api: o.API}).operatorRoutes(routes)
	answer := httptest.NewRecorder()
	routes.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/b2b/stuck", nil))
	var list wire.StuckOrders
	if err := json.Unmarshal(answer.Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	started := o.load(failing.OrderID).Steps[0].StartedAt
	want := "erp failed 2 times: ERP: status 503"
	if len(list.Stuck) != 1 || list.Stuck[0].OrderID != failing.OrderID || list.Stuck[0].Why != want || !list.Stuck[0].Since.Equal(started) {
		t.Errorf("the watchdog lists %+v, want %s since %s: %s", list.Stuck, failing.OrderID, started, want)
	}
}
