package service

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/http/pprof"
	"strings"

	"github.com/go-chi/chi/v5"

	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/config"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/telemetry"
)

// healthHandler serves what probes and Prometheus ask for, which need no token. The
// port tells how the service does and changes nothing.
func (s *Instance) healthHandler() http.Handler {
	r := chi.NewRouter()
	rest.Fallbacks(r)
	api := rest.API{Log: s.log}
	r.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	r.Get("/readyz", api.Handle(s.ready))
	r.Handle("/metrics", s.metrics.Handler())
	return r
}

// adminHandler serves operators: parked events, profiles and what the service adds.
// All of it shows customers' data or changes state, so all of it wants the token.
func (s *Instance) adminHandler() http.Handler {
	r := chi.NewRouter()
	r.Use(s.authenticated)
	rest.Fallbacks(r)
	api := rest.API{Log: s.log}
	r.HandleFunc("/debug/pprof/*", pprof.Index)
	r.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	r.HandleFunc("/debug/pprof/profile", pprof.Profile)
	r.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	r.HandleFunc("/debug/pprof/trace", pprof.Trace)
	r.Get("/debug/flight", api.Handle(s.flight))
	if s.inbox != nil {
		r.Get("/parked", api.Handle(s.listParked))
		r.Post("/parked/accept", api.Handle(s.acceptParking))
		r.Get("/parked/{id}", api.Handle(s.getParked))
		r.Post("/parked/{id}/replay", api.Handle(s.replayParked))
		r.Post("/parked/{id}/discard", api.Handle(s.discardParked))
	}
	if s.app.OperatorRoutes != nil {
		s.app.OperatorRoutes(r)
	}
	return r
}

// authenticated lets operators in: who has the service's token, or an access token with the
// scope of operators. Where there is neither nobody is one.
func (s *Instance) authenticated(next http.Handler) http.Handler {
	byToken := RequireToken(s.set.adminToken, "QUADRILLE_ADMIN_TOKEN")(next)
	if s.callers.Verifier == nil {
		return byToken
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given := bearer(r.Header)
		if strings.Count(given, ".") != 2 { // no JWT
			byToken.ServeHTTP(w, r)
			return
		}
		// What operators do is nobody's in particular, so they do not become the caller.
		c, err := s.callers.Verifier.Verify(r.Context(), given)
		if err == nil {
			err = caller.CheckScope(caller.With(r.Context(), c), caller.ScopeOperator)
		}
		if err != nil {
			f := fault.Of(err)
			if f.Kind == fault.Unauthorized {
				w.Header().Set("WWW-Authenticate", caller.InvalidToken)
			}
			rest.WriteProblem(w, r, f)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// RequireToken lets those in who send the token, which is a setting, as bearer. Where it is
// empty nobody is let in.
func RequireToken(token config.Secret, setting string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			given, want := bearer(r.Header), token.Reveal()
			if want == "" || subtle.ConstantTimeCompare([]byte(given), []byte(want)) != 1 {
				w.Header().Set("WWW-Authenticate", "Bearer")
				rest.WriteProblem(w, r, fault.New(fault.Unauthorized, "token",
					"Send the service's %s, which must be set, as Authorization: Bearer.", setting))
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// bearer returns the token of the one Authorization header, or "".
func bearer(h http.Header) string {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

// flight sends an execution trace of the last seconds, for go tool trace.
func (s *Instance) flight(w http.ResponseWriter, _ *http.Request) error {
	if !s.host.Recorder.Enabled() {
		return fault.New(fault.Unavailable, "flight_off", "The flight recorder is off: set QUADRILLE_FLIGHT=on and restart.")
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="`+s.spec.Name+`.trace"`)
	if _, err := s.host.Recorder.WriteTo(w); err != nil {
		return fmt.Errorf("write flight recording: %w", err)
	}
	return nil
}

// timings are the histograms of the kit, which its parts fill.
type timings struct {
	answers *telemetry.Durations // of the public port
	outbox  outbox.Timings
	inbox   inbox.Timings
}

func newTimings(m *telemetry.Metrics, spec Spec) timings {
	t := timings{answers: m.Durations("http_request_seconds", "status", "From a request to the beginning of its answer, by class of status.")}
	if spec.HasDatabase() {
		t.outbox, t.inbox = outbox.NewTimings(m), inbox.NewTimings(m)
	}
	return t
}

// expose registers the kit's metrics.
func (s *Instance) expose() {
	m := s.metrics
	if s.hasPort() {
		m.Gauge("http_connections", "Connections of the public port.", func() int64 { return s.http.Stats().Open })
		m.Counter("http_connections_refused_total", "Connections answered 503, since all were busy.", func() int64 { return s.http.Stats().Refused })
		m.Counter("http_connections_evicted_total", "Idle connections closed for a newcomer.", func() int64 { return s.http.Stats().Evicted })
	}
	m.Counter("http_callers_refused_total", "Requests that named no caller, or not as they must.", s.callers.Refused)
	if s.keys != nil {
		m.Counter("token_keys_fetched_total", "Times that identity was asked for its keys.", s.keys.Fetches)
		m.Counter("token_keys_failed_total", "Times that it did not give them.", s.keys.Failed)
	}
	if s.spec.HasDatabase() {
		s.exposeEvents(m)
		s.exposeSlot(m)
	}
}

// exposeSlot tells of the replication slot that publishes for the service, if one should.
func (s *Instance) exposeSlot(m *telemetry.Metrics) {
	one := func(is bool) int64 {
		if is {
			return 1
		}
		return 0
	}
	m.Gauge("outbox_slot_gone", "1 if a replication slot should publish and there is none, so that the service does.", func() int64 { return one(s.outbox.Slot().Gone) })
	m.Gauge("outbox_slot_unread", "1 if there is a replication slot and nobody reads it now.", func() int64 { slot := s.outbox.Slot(); return one(slot.Publishes && !slot.Reading) })
	m.Gauge("outbox_slot_lag_seconds", "For how long the oldest event has waited for the reader of the replication slot to confirm it.", func() int64 { return int64(s.outbox.Slot().Lag().Seconds()) })
	m.Gauge("outbox_slot_behind_bytes", "Log that the reader of the replication slot has not confirmed.", func() int64 { return s.outbox.Slot().Behind })
}

func (s *Instance) exposeEvents(m *telemetry.Metrics) {
	m.Counter("outbox_published_total", "Events the broker took.", func() int64 { return s.outbox.Stats().Published })
	m.Counter("outbox_publish_calls_total", "Bulk publish calls.", func() int64 { return s.outbox.Stats().Calls })
	m.Counter("outbox_publish_failed_total", "Events the broker did not take at an attempt.", func() int64 { return s.outbox.Stats().Failed })
	m.Counter("outbox_recovered_total", "Events published from the table instead of from memory.", func() int64 { return s.outbox.Stats().Recovered })
	m.Counter("outbox_deferred_total", "Events left to recovery since memory was full.", func() int64 { return s.outbox.Stats().Deferred })
	m.Gauge("outbox_queued", "Events in memory, to be published.", func() int64 { return s.outbox.Stats().Queued })
	m.Gauge("outbox_queued_bytes", "Bytes of these events.", func() int64 { return s.outbox.Stats().QueuedBytes })
	m.Gauge("outbox_depth", "Events in the table, measured every 10 s; replicas share it.", func() int64 { return s.outbox.Backlog().Depth })
	m.Gauge("outbox_oldest_seconds", "Age of the oldest event in the table.", func() int64 { return int64(s.outbox.Backlog().Age().Seconds()) })
	m.GaugeBy("outbox_refused", "topic", "Events in the table that the broker did not take.", func() map[string]int64 { return s.outbox.Backlog().Refused })
	m.Counter("inbox_handled_total", "Events handled, duplicates included.", func() int64 { return s.inbox.Stats().Handled })
	m.Counter("inbox_duplicates_total", "Events that had had their effect already.", func() int64 { return s.inbox.Stats().Duplicates })
	m.Counter("inbox_again_total", "Events sent back to be delivered again.", func() int64 { return s.inbox.Stats().Again })
	m.Counter("inbox_parked_total", "Events parked.", func() int64 { return s.inbox.Stats().Parked })
	m.Gauge("parked_events", "Events that are parked, 100,000 at most.", func() int64 { return s.inbox.Stats().Stored })
	m.Gauge("inbox_suspects", "Events that others are in the way of, or that take too long; they are tried apart.", func() int64 { return s.inbox.Stats().Suspects })
	m.Gauge("inbox_suspects_oldest_seconds", "For how long the oldest of these has been one.", func() int64 { return s.inbox.Stats().SuspectsOldest })
	m.Breakers(func() map[string]telemetry.Breaker {
		return map[string]telemetry.Breaker{"parking": s.parkingBreaker()}
	})
	m.Counter("inbox_transactions_total", "Transactions that handled events.", func() int64 { return s.inbox.Stats().Batches })
	m.Gauge("database_connections", "Connections of the pool in use.", func() int64 { return int64(s.pool.Stat().AcquiredConns()) })
}

// parkingBreaker is open while events that fail are delivered again instead of being parked.
func (s *Instance) parkingBreaker() telemetry.Breaker {
	if s.inbox.Alarm() != nil {
		return telemetry.Open
	}
	return telemetry.Closed
}
