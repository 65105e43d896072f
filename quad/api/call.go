package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Problem is a service's refusal, an RFC 9457 problem document.
type Problem struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Field  string `json:"field"`
	// URL is what was asked for.
	URL string `json:"-"`

	retryAfter time.Duration
}

func (p *Problem) Error() string {
	text := p.Detail
	if p.Field != "" {
		text = p.Field + ": " + text
	}
	return fmt.Sprintf("%s (%d %s)", text, p.Status, p.Code)
}

// IsProblem reports whether err is a refusal with the given code.
func IsProblem(err error, code string) bool {
	p, ok := errors.AsType[*Problem](err)
	return ok && p.Code == code
}

const (
	callTimeout = 15 * time.Second
	maxAnswer   = 16 << 20
	firstPause  = 100 * time.Millisecond
	maxPause    = 2 * time.Second
	connections = 64 // kept open to one service
)

// sender sends requests, again and again while that may help.
type sender struct {
	http     *http.Client
	retryFor time.Duration
}

func newSender(retryFor time.Duration) sender {
	return sender{
		http: &http.Client{
			Timeout:   callTimeout,
			Transport: &http.Transport{MaxIdleConnsPerHost: connections, IdleConnTimeout: 10 * time.Second},
		},
		retryFor: retryFor,
	}
}

type request struct {
	method, url string
	header      map[string]string
	body        any        // sent as JSON unless nil
	lines       []byte     // sent as they are, as JSON Lines
	form        url.Values // sent as a form unless nil
	login       *Login     // whose access token is sent, unless nil
	err         error      // why it cannot be sent
}

// call sends a request, repeats it for as long as the sender is patient and the
// trouble may pass, and decodes the answer.
func call[T any](ctx context.Context, c sender, r request) (T, error) {
	var answer T
	if r.err != nil {
		return answer, r.err
	}
	body := r.lines
	if r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return answer, fmt.Errorf("encode request: %w", err)
		}
	}
	if r.form != nil {
		body = []byte(r.form.Encode())
	}
	deadline := time.Now().Add(c.retryFor)
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		raw, err := c.send(ctx, r, body)
		if err == nil {
			if err := json.Unmarshal(raw, &answer); err != nil {
				return answer, fmt.Errorf("%s %s: the answer is not the JSON it should be: %w", r.method, r.url, err)
			}
			return answer, nil
		}
		wait, passing := passes(err, pause)
		if !passing || time.Now().Add(wait).After(deadline) {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return answer, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// passes reports whether trouble may pass, and how long to wait for that: as long
// as the service says, or pause with jitter.
func passes(err error, pause time.Duration) (time.Duration, bool) {
	jittered := pause/2 + rand.N(pause) //nolint:gosec // jitter needs no secrecy
	if p, ok := errors.AsType[*Problem](err); ok {
		switch {
		case p.Status == http.StatusServiceUnavailable, p.Status == http.StatusTooManyRequests:
			return max(p.retryAfter, jittered), true
		default:
			return 0, false
		}
	}
	_, unreachable := errors.AsType[*url.Error](err)
	return jittered, unreachable && !errors.Is(err, context.Canceled)
}

// send makes one attempt.
func (c sender) send(ctx context.Context, r request, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	switch {
	case r.lines != nil:
		req.Header.Set("Content-Type", "application/x-ndjson")
	case r.form != nil:
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	case body != nil:
		req.Header.Set("Content-Type", "application/json")
	}
	if r.login != nil {
		token, err := r.login.Token(ctx)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, &url.Error{Op: r.method, URL: r.url, Err: err}
	}
	if res.StatusCode/100 != 2 {
		return nil, refusal(res, answer)
	}
	return answer, nil
}

func refusal(res *http.Response, answer []byte) *Problem {
	p := &Problem{}
	if err := json.Unmarshal(answer, p); err != nil || p.Detail == "" {
		p.Detail = http.StatusText(res.StatusCode) + " from " + res.Request.URL.String()
	}
	p.Status, p.URL = res.StatusCode, res.Request.URL.String()
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil {
		p.retryAfter = time.Duration(seconds) * time.Second
	}
	return p
}
