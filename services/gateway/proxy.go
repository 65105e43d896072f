package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/httpcall"
	"quadrille.internal/platform/telemetry"
)

var errSlow = errors.New("the service did not answer in time")

// roads sends a request to a service of ours or to what is outside.
type roads struct{ inside, outside http.RoundTripper }

func (r roads) RoundTrip(req *http.Request) (*http.Response, error) {
	if passageOf(req.Context()).route.Service != "" {
		return r.inside.RoundTrip(req)
	}
	return r.outside.RoundTrip(req)
}

func (g *gateway) newProxy(inside http.RoundTripper) http.Handler {
	outside := http.DefaultTransport.(*http.Transport).Clone()
	outside.Proxy, outside.DisableCompression, outside.MaxIdleConnsPerHost = nil, true, 128
	return &httputil.ReverseProxy{
		// Rewrite, not Director: with that, a Connection header of the client removes what is set.
		Rewrite: rewrite, Transport: roads{inside, outside}, ModifyResponse: g.answered, ErrorHandler: g.failed,
		BufferPool: &buffers, ErrorLog: log.New(io.Discard, "", 0), // what fails is answered, and counted
	}
}

// rewrite makes the request that the service gets.
func rewrite(pr *httputil.ProxyRequest) {
	p := passageOf(pr.In.Context())
	out := pr.Out
	if p.route.Service != "" {
		out.URL.Scheme, out.URL.Host, out.Host = "http", p.route.Service, ""
	} else if u, err := url.Parse(p.route.URL); err == nil { // it was checked
		pr.SetURL(u)
	}
	if out.Body == nil && !safe(out.Method) {
		// net/http sends a request without a body once more where it has an Idempotency-Key and
		// its connection breaks; whether that is right is the client's to say.
		out.Body = io.NopCloser(strings.NewReader(""))
	}
	strip(out.Header)
	out.Header.Del("Authorization")
	if p.authorization != "" {
		out.Header.Set("Authorization", p.authorization)
	}
	out.Header.Set(requestIDHeader, p.id)
	out.Header.Set(addressHeader, p.address.String())
	out.Header.Set("X-Forwarded-Host", pr.In.Host)
	if trace := telemetry.TraceParent(out.Context()); trace != "" {
		out.Header.Set("Traceparent", trace)
	}
}

func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions || method == http.MethodTrace
}

// answered looks at an answer whose body is still to come.
func (g *gateway) answered(res *http.Response) error {
	p := passageOf(res.Request.Context())
	take := g.receive
	if media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); media == "text/event-stream" && res.StatusCode == http.StatusOK {
		take = g.beginStream
	}
	if err := take(p, res); err != nil {
		return err
	}
	p.visit.done(nil)
	for name := range res.Header {
		// Who may read an answer in a page is the gateway's to say; who made it, nobody's business.
		if strings.HasPrefix(name, "Access-Control-") || name == "Server" || name == "X-Powered-By" {
			delete(res.Header, name)
		}
	}
	addSecure(res.Header)
	res.Header.Set(requestIDHeader, p.id)
	return nil
}

// failed answers for a service that did not.
func (g *gateway) failed(w http.ResponseWriter, r *http.Request, err error) {
	p := passageOf(r.Context())
	if p.in.Context().Err() != nil { // says nothing of the service, and nobody reads the answer
		p.visit.done(context.Canceled)
		g.refuse(w, p, fault.New(fault.Unavailable, "unavailable", "The caller went away."))
		return
	}
	if f, ok := errors.AsType[*fault.Fault](err); ok { // the service answered, and the gateway does not pass it on
		p.visit.done(nil)
		if f.Kind == fault.TooMany {
			g.counts.streamsRefused.Add(1)
			w.Header().Set("Retry-After", strconv.Itoa(seconds(streamWriteTimeout)))
		}
		g.refuse(w, p, f)
		return
	}
	if cause := context.Cause(r.Context()); errors.Is(cause, errSlow) {
		err = cause
	}
	p.visit.done(err)
	g.counts.away.Add(1)
	g.log.WarnContext(r.Context(), "a service did not answer", "service", p.target.name, "method", r.Method, "request_id", p.id, "err", err)
	g.refuse(w, p, unanswered(err, p.route))
}

// unanswered tells whether the request can have had an effect.
func unanswered(err error, route Route) *fault.Fault {
	if _, away := errors.AsType[*httpcall.DialError](err); away {
		return &fault.Fault{Kind: fault.Unavailable, Code: "service_away", Cause: err,
			Message: fmt.Sprintf("What answers %s is away, and was not asked; try again shortly.", route.Prefix)}
	}
	return &fault.Fault{Kind: fault.Unanswered, Code: "service_unanswered", Cause: err,
		Message: fmt.Sprintf("What answers %s did not answer, and may have done what was asked; try again with the same Idempotency-Key.", route.Prefix)}
}

// bufferPool lends the buffers by which bodies are copied.
type bufferPool struct{ sync.Pool }

var buffers bufferPool

const bufferSize = 16 << 10

// Get implements httputil.BufferPool.
func (b *bufferPool) Get() []byte {
	if lent, ok := b.Pool.Get().(*[]byte); ok {
		return *lent
	}
	return make([]byte, bufferSize)
}

// Put implements httputil.BufferPool.
func (b *bufferPool) Put(buffer []byte) { b.Pool.Put(&buffer) }
