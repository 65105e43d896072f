// Package partner calls the HTTP API of a third party, such as a payment provider or an
// ERP. It knows how calls go wrong, not what answers mean: that is for the service.
package partner

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"quadrille.internal/platform/config"
)

// idleConns is how many connections are kept where their number is not bounded.
const idleConns = 64

// Config of a Client.
type Config struct {
	// URL is what paths are appended to.
	URL string
	// Key is sent as bearer token.
	Key config.Secret
	// Timeout bounds a call, from the wait for a connection to the end of the answer.
	Timeout time.Duration
	// MaxConns bounds the connections; 0 means any number.
	MaxConns int
	// MaxAnswer is how many bytes of an answer are read.
	MaxAnswer int64
}

// Client calls one partner. It follows no redirects: a request with our key goes
// nowhere but to the URL that was set.
type Client struct {
	cfg  Config
	http *http.Client
}

// New returns a Client.
func New(cfg Config) *Client {
	return &Client{cfg: cfg, http: &http.Client{
		Timeout:       cfg.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			MaxIdleConnsPerHost: cmp.Or(cfg.MaxConns, idleConns), MaxConnsPerHost: cfg.MaxConns, IdleConnTimeout: time.Minute,
		},
	}}
}

// CloseIdleConnections closes connections that no call uses.
func (c *Client) CloseIdleConnections() { c.http.CloseIdleConnections() }

// Request is one call.
type Request struct {
	Method, Path string
	// Body is sent as JSON, unless it is nil.
	Body any
	// Header holds what is sent beside the key and the content type; "" is not sent.
	Header map[string]string
}

// Answer is an answer of any status. Its body is cut off at MaxAnswer.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// UnsentError says that a request provably did not leave: there was no connection to
// write it to. After any other error of Do the partner may have carried it out.
type UnsentError struct{ Cause error }

func (e *UnsentError) Error() string { return "not sent: " + e.Cause.Error() }
func (e *UnsentError) Unwrap() error { return e.Cause }

// Do makes one call, and no second one: whether to repeat it is for the caller to say.
func (c *Client) Do(ctx context.Context, r Request) (Answer, error) {
	// Nothing is written before there is a connection, and net/http tells of it first.
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	req, err := c.request(traced, r)
	if err != nil {
		return Answer{}, &UnsentError{err}
	}
	res, err := c.http.Do(req)
	switch {
	case err != nil && !connected.Load():
		return Answer{}, &UnsentError{err}
	case err != nil:
		return Answer{}, err
	}
	defer res.Body.Close() //nolint:errcheck // read to its end or given up
	body, err := io.ReadAll(io.LimitReader(res.Body, c.cfg.MaxAnswer))
	if err != nil {
		return Answer{}, fmt.Errorf("read answer: %w", err)
	}
	return Answer{res.StatusCode, res.Header, body}, nil
}

func (c *Client) request(ctx context.Context, r Request) (*http.Request, error) {
	var payload []byte
	if r.Body != nil {
		var err error
		if payload, err = json.Marshal(r.Body); err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, c.cfg.URL+r.Path, bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.cfg.Key.Reveal())
	if payload != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range r.Header {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	return req, nil
}
