// Package dapr joins a service to the others by its Dapr sidecar: package sidecar is
// the way out, package subscriber the way in.
package dapr

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"google.golang.org/grpc"

	"quadrille.internal/platform/config"
	"quadrille.internal/platform/sidecar"
	"quadrille.internal/platform/subscriber"
	"quadrille.internal/platform/transport"
)

// Network is that of Dapr, which each service has a sidecar to.
type Network struct{}

// Join implements transport.Network.
func (Network) Join(m transport.Member) (transport.Transport, error) {
	r := m.Config
	t := &Transport{
		member: m,
		addr:   r.Own().Addr("QUADRILLE_GRPC_ADDR", "127.0.0.1:8081"),
		tokens: readTokens(r, m.Insecure),

		workers: make(chan context.Context, 1),
	}
	port := r.Int("DAPR_GRPC_PORT", 50001, 1, 65535)
	var err error
	t.Sidecar, err = sidecar.Dial(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), t.tokens.dapr.Reveal())
	if err != nil {
		return nil, err
	}
	return t, nil
}

// tokens are what the two sides prove themselves with: app is the sidecar's when it
// calls us, dapr ours when we call the sidecar.
type tokens struct{ app, dapr config.Secret }

// readTokens wants both: without app anyone who reaches the gRPC port could forge
// events.
func readTokens(r *config.Reader, insecure bool) tokens {
	read := r.Secret
	if insecure {
		read = r.OptionalSecret
	}
	return tokens{app: read("APP_API_TOKEN"), dapr: read("DAPR_API_TOKEN")}
}

// Transport is a service's sidecar. Its own methods are those of the way out.
type Transport struct {
	*sidecar.Sidecar
	member transport.Member
	addr   string
	tokens tokens
	ln     net.Listener
	server *transport.Server

	workers chan context.Context // of the workflow worker's stream that began last
}

// System implements transport.Transport.
func (t *Transport) System() string { return "dapr" }

// Parallel is one: calls for a topic follow one another, so that batches grow with the
// load and brokers that keep an order may.
func (t *Transport) Parallel() int { return 1 }

// Heard implements transport.Transport: the broker keeps events for outside systems too.
func (t *Transport) Heard(string) bool { return true }

// Calls implements transport.Transport.
func (t *Transport) Calls(service string) grpc.ClientConnInterface { return t.To(service) }

// Workflows implements transport.Transport: the engine is in the sidecar.
func (t *Transport) Workflows() grpc.ClientConnInterface { return engine{t.To(""), t.workers} }

// Listen implements transport.Transport.
func (t *Transport) Listen(ctx context.Context, s transport.Service) error {
	m := t.member
	var err error
	if t.ln, err = new(net.ListenConfig).Listen(ctx, "tcp", t.addr); err != nil {
		return fmt.Errorf("%s: %w", m.Config.Own().Name("QUADRILLE_GRPC_ADDR"), err)
	}
	t.server = subscriber.NewGRPC(subscriber.Config{ //nolint:contextcheck // each call has its own
		App: m.Name, Topics: m.Topics, Token: t.tokens.app.Reveal(), Handler: s.Handler, Register: s.Register, HTTP: s.HTTP, Log: m.Log,
	})
	m.Log.InfoContext(ctx, "listening for the sidecar", "grpc", t.addr)
	return nil
}

// Deliver implements transport.Transport.
func (t *Transport) Deliver(ctx context.Context) error {
	serving := make(chan error, 1)
	go func() { serving <- t.server.Serve(t.ln) }()
	select {
	case err := <-serving:
		return fmt.Errorf("serve the sidecar: %w", err)
	case <-ctx.Done():
		t.server.StopWithin(transport.StopTimeout)
		return nil
	}
}

// RunWorkflows implements transport.Transport: it looks after the engine in the sidecar.
func (t *Transport) RunWorkflows(ctx context.Context) error {
	t.watchWorkers(ctx, workersLook)
	return nil
}

// Ready implements transport.Transport.
func (t *Transport) Ready(ctx context.Context) error {
	return t.Sidecar.Ready(ctx, subscriber.Subscribed(t.member.Name, t.member.Topics))
}

// Close implements transport.Transport.
func (t *Transport) Close() {
	if t.ln != nil {
		_ = t.ln.Close() // the server closes it too
	}
	_ = t.Sidecar.Close() // nothing is lost with it
}
