package gateway

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-chi/cors"
	"github.com/google/uuid"

	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/config"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/telemetry"
)

const (
	// maxBodies is what bodies that are being received may take together, beside 16 KiB each.
	maxBodies = 64 << 20
	// identity alone takes other credentials than access tokens: it gives them.
	identity = "identity"
)

// gateway passes requests on.
type gateway struct {
	set      settings
	api      rest.API
	log      *slog.Logger
	verifier caller.Verifier // nil where callers do not prove themselves
	routes   *routes
	targets  *targets
	shared   *shared
	proxy    http.Handler
	streams  chan struct{}   // event streams under way
	held     atomic.Int64    // bytes of answers that are being sent
	ending   context.Context //nolint:containedctx // it ends with the port, not with a request
	end      context.CancelFunc

	byAddress, bySubject               *limit
	streamsOfAddress, streamsOfSubject *rest.Places

	counts struct{ requests, malformed, byAddress, bySubject, tokens, away, streams, streamsRefused atomic.Int64 }
}

func newGateway(kit *service.Kit, set settings) *gateway {
	g := &gateway{
		set: set, api: kit.API, log: kit.Log, verifier: kit.Verifier,
		routes: newRoutes(set.routesFile, kit.Log), targets: newTargets(set, kit.Log), shared: newShared(set, kit.Log),
		streams: make(chan struct{}, set.streams),
	}
	g.ending, g.end = context.WithCancel(context.Background()) //nolint:gosec // the port calls end
	g.byAddress = newLimit("address", set.byAddress, set.replicas, g.shared)
	g.bySubject = newLimit("caller", set.bySubject, set.replicas, g.shared)
	g.streamsOfAddress, g.streamsOfSubject = rest.NewPlaces(set.streamsOfAddress), rest.NewPlaces(set.streamsOfCaller)
	g.proxy = g.newProxy(kit.HTTP)
	return g
}

// closeShared ends the connections to the shared count when the gateway does.
func (g *gateway) closeShared(ctx context.Context) error {
	<-ctx.Done()
	if g.shared == nil {
		return nil
	}
	return g.shared.client.Close()
}

func (g *gateway) expose(m *telemetry.Metrics) {
	count := func(name, help string, c *atomic.Int64) { m.Counter("gateway_"+name+"_total", help, c.Load) }
	count("requests", "Requests that came in.", &g.counts.requests)
	count("malformed", "Requests refused for their path or headers.", &g.counts.malformed)
	count("limited_addresses", "Requests refused since their address asks too often.", &g.counts.byAddress)
	count("limited_callers", "Requests refused since their caller asks too often.", &g.counts.bySubject)
	count("tokens_refused", "Requests refused for their access token.", &g.counts.tokens)
	count("away", "Requests that a service did not answer, or was not asked.", &g.counts.away)
	count("streams_refused", "Event streams refused since their address or caller has too many.", &g.counts.streamsRefused)
	m.Gauge("gateway_streams", "Event streams under way.", g.counts.streams.Load)
	m.Breakers(g.targets.breakers)
	m.Counter("gateway_shared_count_failed_total", "Times that the shared count did not answer.", func() int64 {
		if g.shared == nil {
			return 0
		}
		return g.shared.failed.Load()
	})
}

// readOrigins reads whose pages may call.
func readOrigins(r *config.Reader, name string) []string {
	origins := list(r.String(name, ""))
	for _, origin := range origins {
		if err := checkOrigin(origin); err != nil {
			r.Fault(name, err)
		}
	}
	return origins
}

// handler is the public port.
func (g *gateway) handler() http.Handler {
	h := rest.LimitBodies(maxBodies)(http.HandlerFunc(g.serve))
	if len(g.set.origins) > 0 {
		// No cookies or passwords that a browser adds by itself: callers prove themselves by headers, which
		// the page sets.
		h = cors.Handler(cors.Options{
			AllowedOrigins: g.set.origins, MaxAge: 600,
			AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
			AllowedHeaders: []string{"Authorization", "Cart-Token", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-Id", requestIDHeader},
			ExposedHeaders: []string{"ETag", "Location", "Retry-After", "WWW-Authenticate", requestIDHeader},
		})(h)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.counts.requests.Add(1)
		p := &passage{in: r, id: requestID(r)}
		ctx := context.WithValue(r.Context(), passageKey{}, p)
		defer g.recovered(w, p)
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// passage is a request on its way.
type passage struct {
	in      *http.Request
	id      string
	address netip.Addr
	// subject is who proved himself, or "".
	subject string
	// authorization is the one header that is passed on, or "".
	authorization string
	route         Route
	target        *target
	visit         visit
	timer         *time.Timer
	stream        *stream
	held          int64 // bytes of the answer that were received before they are sent
	cancel        context.CancelCauseFunc
}

type passageKey struct{}

func passageOf(ctx context.Context) *passage { return ctx.Value(passageKey{}).(*passage) }

// requestID is what a well-behaved client or load balancer chose, or a new one.
func requestID(r *http.Request) string {
	if given := r.Header[requestIDHeader]; len(given) == 1 && validID(given[0]) {
		return given[0]
	}
	return uuid.Must(uuid.NewV7()).String()
}

func validID(id string) bool {
	for _, c := range []byte(id) {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return len(id) >= 8 && len(id) <= 64
}

// recovered answers what panicked, unless the answer was to be cut.
func (g *gateway) recovered(w http.ResponseWriter, p *passage) {
	switch cause := recover(); cause {
	case nil:
	case http.ErrAbortHandler:
		panic(cause)
	default:
		g.log.Error("request panicked", "method", p.in.Method, "request_id", p.id, "panic", cause)
		g.refuse(w, p, fault.New(fault.Internal, "internal", "Something went wrong on our side."))
	}
}

// refuse answers with a problem of the gateway's own.
func (g *gateway) refuse(w http.ResponseWriter, p *passage, f *fault.Fault) {
	addSecure(w.Header())
	w.Header().Set(requestIDHeader, p.id)
	rest.WriteProblem(w, p.in, f)
}

// serve passes a request on, or says why not. What costs least is checked first.
func (g *gateway) serve(w http.ResponseWriter, r *http.Request) {
	p := passageOf(r.Context())
	if f := g.admit(w, r, p); f != nil {
		g.refuse(w, p, f)
		return
	}
	body, err := g.body(w, r)
	if err != nil {
		g.refuse(w, p, fault.Of(err))
		return
	}
	if p.visit, err = p.target.enter(); err != nil {
		g.counts.away.Add(1)
		w.Header().Set("Retry-After", strconv.Itoa(seconds(g.set.breakFor)))
		g.refuse(w, p, fault.New(fault.Unavailable, "service_away",
			"What answers %s %s; try again shortly. What is answered elsewhere goes on.", p.route.Prefix, err))
		return
	}
	defer p.visit.leave()
	defer p.endStream()
	defer func() { g.held.Add(-p.held) }()
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	p.cancel = cancel
	p.timer = time.AfterFunc(g.set.timeout, func() { cancel(errSlow) })
	defer p.timer.Stop()
	r = r.WithContext(ctx)
	r.Header.Del("Upgrade") // nothing here speaks another protocol
	r.Header.Del("Expect")  // met: the body is here
	r.Trailer, r.TransferEncoding = nil, nil
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	p.stream = &stream{ResponseWriter: w, control: http.NewResponseController(w)}
	g.proxy.ServeHTTP(p.stream, r)
}

// admit says why a request is not passed on.
func (g *gateway) admit(w http.ResponseWriter, r *http.Request, p *passage) *fault.Fault {
	p.address = g.set.proxies.of(r)
	if wait, ok := g.byAddress.allow(r.Context(), rest.NetworkOf(p.address)); !ok {
		g.counts.byAddress.Add(1)
		return tooMany(w, wait)
	}
	for _, f := range []*fault.Fault{checkTarget(r), checkHeaders(r.Header)} {
		if f != nil {
			g.counts.malformed.Add(1)
			return f
		}
	}
	var found bool
	if p.route, found = g.routes.now.Load().find(pathOf(r)); !found {
		return fault.New(fault.NotFound, "no_such_route", "There is nothing at %s.", r.URL.Path)
	}
	telemetry.Route(r, p.route.Prefix)
	p.target = g.targets.get(p.route.target())
	c, err := g.authenticate(r, p)
	if err != nil {
		f := fault.Of(err)
		if f.Kind == fault.Unauthorized {
			g.counts.tokens.Add(1)
			w.Header().Set("WWW-Authenticate", caller.InvalidToken)
		}
		return f
	}
	if c.Anonymous() {
		return nil
	}
	p.subject = c.ID
	if wait, ok := g.bySubject.allow(r.Context(), c.ID); !ok {
		g.counts.bySubject.Add(1)
		return tooMany(w, wait)
	}
	return nil
}

func tooMany(w http.ResponseWriter, wait time.Duration) *fault.Fault {
	w.Header().Set("Retry-After", strconv.Itoa(seconds(wait)))
	return fault.New(fault.TooMany, "too_many_requests", "You ask too often; try again after the seconds in Retry-After.")
}

// authenticate reads who calls. Without an access token nobody is known: whether that will
// do, the service says.
func (g *gateway) authenticate(r *http.Request, p *passage) (c caller.Caller, err error) {
	p.authorization = r.Header.Get("Authorization")
	if p.authorization == "" || g.verifier == nil {
		return c, nil
	}
	raw, ok := bearer(p.authorization)
	switch {
	case ok:
		return g.verifier.Verify(r.Context(), raw)
	case p.route.Service == identity:
		return c, nil
	}
	return c, fault.New(fault.Unauthorized, "token_invalid", "Send an access token as Authorization: Bearer.")
}

// body receives a body whole before its service is asked, so that a slow client takes none of
// the places there. Its time is that of the server.
func (g *gateway) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > int64(g.set.maxBody) {
		return nil, fault.New(fault.TooLarge, "body_too_large", "The body is larger than %d bytes.", g.set.maxBody)
	}
	return rest.ReadBody(w, r, int64(g.set.maxBody))
}
