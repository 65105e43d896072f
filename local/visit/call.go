package visit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 4 << 20

// Problem is an answer that says no, an RFC 9457 problem document.
type Problem struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Field  string `json:"field"`
}

func (p *Problem) Error() string { return fmt.Sprintf("%s (%d %s)", p.Detail, p.Status, p.Code) }

// request is one that a browser sends, or an operator.
type request struct {
	method, url string
	header      map[string]string
	body        any // sent as JSON unless nil; url.Values as a form
}

// call sends a request and decodes the answer.
func call[T any](ctx context.Context, client *http.Client, r request) (answer T, err error) {
	var body io.Reader = http.NoBody
	media := "application/json"
	switch given := r.body.(type) {
	case nil:
	case url.Values:
		media, body = "application/x-www-form-urlencoded", strings.NewReader(given.Encode())
	default:
		text, err := json.Marshal(given)
		if err != nil {
			return answer, fmt.Errorf("encode a request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, body)
	if err != nil {
		return answer, err
	}
	if r.body != nil {
		req.Header.Set("Content-Type", media)
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	res, err := client.Do(req)
	if err != nil {
		return answer, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return answer, fmt.Errorf("%s %s: %w", r.method, r.url, err)
	}
	if res.StatusCode >= http.StatusBadRequest {
		p := &Problem{}
		if json.Unmarshal(text, p) != nil || p.Code == "" {
			return answer, fmt.Errorf("%s %s: %s: %.200s", r.method, r.url, res.Status, text)
		}
		return answer, fmt.Errorf("%s %s: %w", r.method, r.url, p)
	}
	if len(text) == 0 {
		return answer, nil
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return answer, fmt.Errorf("%s %s: the answer is not the JSON it should be: %w", r.method, r.url, err)
	}
	return answer, nil
}
