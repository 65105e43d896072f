// Package servicetest runs a service's own parts in a test, on a database of its
// own and without a sidecar: events go through the real inbox, requests through
// the real routes, and what they cause is read from the outbox table.
package servicetest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/events"
	"quadrille.internal/platform/audit"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/telemetry"
)

// NewKit returns what the service is built with, on a database of its own, as a role
// that has no more rights than its Spec says; nor does the outbox take more. It is not
// running: what is emitted stays in its table.
func NewKit(t testing.TB, spec service.Spec) *service.Kit {
	t.Helper()
	if err := spec.Check(); err != nil {
		t.Fatal(err)
	}
	return kitOn(pgtest.Open(t, spec.Migrations, spec.Grants), spec)
}

func kitOn(pool *pgxpool.Pool, spec service.Spec) *service.Kit {
	log := slog.New(slog.DiscardHandler)
	return &service.Kit{
		Pool: pool, Log: log, Metrics: telemetry.NewMetrics(spec.Name), API: rest.API{Log: log},
		Outbox: outbox.New(outbox.Config{Source: spec.Name, Emits: spec.Emits, Pool: pool, Log: log}),
	}
}

// CheckPlans runs what a service does, on tables filled by these statements, and
// fails where a plan would cost more the more rows there are, or none uses one of
// the indexes.
func CheckPlans(t *testing.T, spec service.Spec, fill, indexes []string, do func(*testing.T, *service.Kit)) {
	t.Helper()
	for _, way := range []string{pgtest.Custom, pgtest.Generic} {
		t.Run(way, func(t *testing.T) {
			pool := pgtest.Open(t, spec.Migrations)
			pgtest.Fill(t, pool, fill...)
			explained, plans := pgtest.Explain(t, pool, way)
			t.Run("work", func(t *testing.T) { do(t, kitOn(explained, spec)) })
			plans.Check(t, indexes...)
		})
	}
}

// Run runs work until the test ends, or until the returned function is called,
// which waits for it to end.
func Run(t testing.TB, work func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- work(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// Inbox is a running inbox.
type Inbox struct {
	t  testing.TB
	in *inbox.Inbox
}

// RunInbox runs the inbox of a service until the test ends.
func RunInbox(t testing.TB, kit *service.Kit, handler inbox.Handler) *Inbox {
	t.Helper()
	in := inbox.New(inbox.Config{Consumer: "test", Pool: kit.Pool, Outbox: kit.Outbox, Handler: handler, Log: kit.Log})
	Run(t, in.Run)
	return &Inbox{t, in}
}

// Message wraps an event as it comes from the broker, of the service that sends it. Delivered twice, it is a
// duplicate; wrapped twice, it is another event.
func Message(t testing.TB, e events.Event, at time.Time) inbox.Message {
	t.Helper()
	def, registered := events.Lookup(e.Type())
	if !registered {
		t.Fatalf("nobody sends %s", e.Type())
	}
	payload, err := events.Encode(uuid.Must(uuid.NewV7()), def.Owner, at, "", e)
	if err != nil {
		t.Fatal(err)
	}
	return inbox.Message{Topic: e.Type(), Payload: payload}
}

// Deliver hands messages over as one batch. It reports those that were not
// handled, or parked; it may be called from any goroutine.
func (i *Inbox) Deliver(messages ...inbox.Message) {
	i.t.Helper()
	if parked := i.DeliverAny(messages...); len(parked) > 0 {
		i.t.Errorf("parked %s: %s", parked[0].Topic, parked[0].Cause)
	}
}

// DeliverAny is Deliver where messages may be parked. It returns all that are. What is to be
// delivered again, since another transaction had its rows for long, is, as by a broker.
func (i *Inbox) DeliverAny(messages ...inbox.Message) []inbox.Parked {
	i.t.Helper()
	again := i.Try(messages...)
	for deadline := time.Now().Add(patience); len(again) > 0 && time.Now().Before(deadline); again = i.Try(again...) {
		<-time.After(lookEvery)
	}
	for _, m := range again {
		i.t.Errorf("deliver %s: to be delivered again", m.Topic)
	}
	parked, _, err := i.in.ListParked(context.Background(), inbox.Cursor{}, 100)
	if err != nil {
		i.t.Errorf("list parked: %v", err)
	}
	return parked
}

// Try hands messages over as one batch and returns those that must be delivered
// again.
func (i *Inbox) Try(messages ...inbox.Message) (again []inbox.Message) {
	i.t.Helper()
	batch := make([]*inbox.Message, len(messages))
	for n := range messages {
		m := messages[n]
		batch[n] = &m
	}
	if err := i.in.Handle(context.Background(), batch); err != nil {
		i.t.Errorf("deliver: %v", err)
		return nil
	}
	for n, m := range batch {
		if m.Verdict != inbox.Done {
			again = append(again, messages[n])
		}
	}
	return again
}

// Emitted returns the events that the outbox holds, by order, oldest first.
func Emitted(t testing.TB, pool *pgxpool.Pool) map[uuid.UUID][]events.Event {
	t.Helper()
	emitted := make(map[uuid.UUID][]events.Event)
	for _, e := range outboxEvents(t, pool) {
		emitted[events.OrderOf(e)] = append(emitted[events.OrderOf(e)], e)
	}
	return emitted
}

// EmittedAbout returns the events about one subject that the outbox holds, oldest first.
func EmittedAbout(t testing.TB, pool *pgxpool.Pool, subject string) []events.Event {
	t.Helper()
	return slices.DeleteFunc(outboxEvents(t, pool), func(e events.Event) bool { return e.Subject() != subject })
}

func outboxEvents(t testing.TB, pool *pgxpool.Pool) []events.Event {
	t.Helper()
	rows, err := pool.Query(t.Context(), `select payload from outbox order by xid, id`)
	if err != nil {
		t.Fatal(err)
	}
	payloads, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		t.Fatal(err)
	}
	list := make([]events.Event, len(payloads))
	for i, p := range payloads {
		if _, list[i], err = events.Decode(p); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// CheckBooks reads the service's books as the auditor: of an order what happened, in this
// order, and no rule that is broken. It returns the names of the rules.
func CheckBooks(t testing.TB, pool *pgxpool.Pool, books audit.Books, order uuid.UUID, happened ...string) (rules []string) {
	t.Helper()
	auditor := pgtest.Auditor(t, pool)
	if _, err := books.IsBusy(t.Context(), auditor); err != nil {
		t.Errorf("ask whether the service is busy: %v", err)
	}
	var told []string
	if story := Story(t, pool, books, order); story != nil {
		slices.SortStableFunc(story.Moments, func(a, b audit.Moment) int { return a.At.Compare(b.At) })
		for _, m := range story.Moments {
			told = append(told, strings.TrimPrefix(m.By+" "+m.What, " "))
		}
	}
	if !slices.Equal(told, happened) {
		t.Errorf("the service tells %q of the order, want %q", told, happened)
	}
	if _, _, err := books.Residue(t.Context(), auditor, [][]byte{make([]byte, sha256.Size)}); err != nil {
		t.Error(err)
	}
	checks, err := books.Check(t.Context(), auditor)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		rules = append(rules, c.Name)
		for _, f := range c.Faults {
			t.Errorf("%s: %s: %s", c.Name, f.ID, f.Problem)
		}
	}
	return rules
}

// Story reads as the auditor what the service tells of an order; nil is nothing.
func Story(t testing.TB, pool *pgxpool.Pool, books audit.Books, order uuid.UUID) *audit.Story {
	t.Helper()
	if books.Story == nil {
		return nil
	}
	story, err := books.Story(t.Context(), pgtest.Auditor(t, pool), order)
	if err != nil {
		t.Fatal(err)
	}
	return story
}

// CheckProgress follows orders as a benchmark does, as the auditor, and compares how many
// are unsettled and under way.
func CheckProgress(t testing.TB, pool *pgxpool.Pool, p audit.Progress, unsettled, underWay int) {
	t.Helper()
	db, all, none := pgtest.Auditor(t, pool), uuid.Nil.String(), uuid.Max.String()
	if p.Unsettled != "" {
		if n, lowest, err := p.CountUnsettled(t.Context(), db, all); err != nil || n != unsettled || (lowest == "") != (n == 0) {
			t.Errorf("%d are unsettled from %q on, %v, want %d", n, lowest, err, unsettled)
		}
	}
	if n, err := p.CountUnderWay(t.Context(), db, all); err != nil || n != underWay {
		t.Errorf("%d are under way, %v, want %d", n, err, underWay)
	}
	// Only a server that keeps the times of commits can tell them of rows.
	if err := p.Commits(t.Context(), db, none, func(uuid.UUID, time.Time) {}); err != nil {
		t.Errorf("read commits: %v", err)
	}
	if p.Refused != "" {
		if err := p.TakenIn(t.Context(), db, none, "", func(audit.Taken) error { return nil }); err != nil {
			t.Errorf("read what was taken in: %v", err)
		}
	}
	if p.Customer != "" {
		if found, err := p.Outcomes(t.Context(), db, all, ""); err != nil || len(found) == 0 {
			t.Errorf("read outcomes: %v, %v", found, err)
		}
	}
}

// Exec runs a statement.
func Exec(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Types names the types of events.
func Types(list []events.Event) []string {
	types := make([]string, len(list))
	for i, e := range list {
		types[i] = e.Type()
	}
	return types
}

// Client calls a service's public routes.
type Client struct {
	t   testing.TB
	url string
}

// Serve serves routes until the test ends.
func Serve(t testing.TB, routes func(chi.Router)) *Client {
	t.Helper()
	r := chi.NewRouter()
	rest.Fallbacks(r)
	routes(r)
	srv := httptest.NewServer(r)
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		srv.Close()
	})
	return &Client{t, srv.URL}
}

// Answer is a response, read whole.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Problem is the problem that was answered.
func (a Answer) Problem() (p rest.Problem) {
	_ = json.Unmarshal([]byte(a.Body), &p) // anything else has no code, which tests compare
	return p
}

// Do sends a request; header holds name, value, name, value ... A body is sent as
// JSON. It may be called from any goroutine.
func (c *Client) Do(method, path, body string, header ...string) Answer {
	c.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Errorf("%s %s: %v", method, path, err)
		return Answer{}
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for pair := range slices.Chunk(header, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Errorf("%s %s: %v", method, path, err)
		return Answer{}
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Errorf("%s %s: %v", method, path, err)
	}
	return Answer{res.StatusCode, res.Header, string(raw)}
}

const (
	patience  = time.Minute // on a machine that is busy
	lookEvery = 10 * time.Millisecond
)

// Await looks again and again until what is awaited is so.
func Await(t testing.TB, what string, isSo func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for !isSo() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// CheckMetrics waits until a scrape of m has the lines: what has happened is counted
// a moment later.
func CheckMetrics(t testing.TB, m *telemetry.Metrics, lines ...string) {
	t.Helper()
	for _, want := range lines {
		Await(t, "the metrics have "+want, func() bool {
			scrape := httptest.NewRecorder()
			m.Handler().ServeHTTP(scrape, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
			return strings.Contains(scrape.Body.String(), "\n"+want+"\n")
		})
	}
}
