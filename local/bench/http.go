package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"syscall"
	"time"
)

// A wire is one keep-alive HTTP/1.1 connection. net/http's client costs about
// three times as much, and the load generator shares the cores with what it
// measures; what the services answer needs no more than this.
type wire struct {
	addr    string
	conn    net.Conn
	reader  *bufio.Reader
	body    []byte
	closing bool // the server ends the connection after this answer
}

// answer of a server. Its body is valid until the next one.
type answer struct {
	status     int
	retryAfter time.Duration
	body       []byte
}

const (
	answerTimeout = 30 * time.Second
	maxAnswer     = 1 << 20
)

func newWire(addr string) *wire { return &wire{addr: addr} }

func (w *wire) close() {
	if w.conn != nil {
		_ = w.conn.Close()
		w.conn = nil
	}
}

// do sends a whole request and reads the answer. One that is sent on a connection which
// was open already, and gets not a byte of an answer, is sent once more on a new one: a
// server may close idle connections (RFC 9112, 9.3.1), and all that is sent here may be
// repeated. After another error the connection is made again the next time; whether the
// server carried the request out is not known then.
func (w *wire) do(ctx context.Context, request []byte) (answer, error) {
	if w.conn != nil {
		a, err := w.exchange(request)
		if !errors.Is(err, errNoAnswer) {
			return a, err
		}
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", w.addr)
	if err != nil {
		return answer{}, err
	}
	w.conn, w.reader = conn, bufio.NewReaderSize(conn, 1<<10)
	return w.exchange(request)
}

// errNoAnswer says that the server closed the connection without a byte of an answer.
var errNoAnswer = errors.New("the server closed the connection without an answer")

func (w *wire) exchange(request []byte) (a answer, err error) {
	defer func() {
		if err != nil || w.closing {
			w.close()
		}
	}()
	if err := w.conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return a, err
	}
	_, err = w.conn.Write(request) // which fails if it was closed before
	if err == nil {
		_, err = w.reader.Peek(1)
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return a, fmt.Errorf("%w: %w", errNoAnswer, err)
	case err != nil:
		return a, err
	}
	return w.read()
}

var errUnreadable = errors.New("answer is not HTTP/1.1 as expected")

func (w *wire) read() (a answer, err error) {
	line, err := w.reader.ReadSlice('\n')
	if err != nil {
		return a, err
	}
	const version = "HTTP/1.1 "
	if len(line) < len(version)+3 || !bytes.HasPrefix(line, []byte(version)) {
		return a, fmt.Errorf("%w: %q", errUnreadable, line)
	}
	if a.status, err = strconv.Atoi(string(line[len(version) : len(version)+3])); err != nil {
		return a, fmt.Errorf("%w: %q", errUnreadable, line)
	}
	length, err := w.readHeader(&a)
	if err != nil {
		return a, err
	}
	if cap(w.body) < length {
		w.body = make([]byte, length)
	}
	a.body = w.body[:length]
	_, err = io.ReadFull(w.reader, a.body)
	return a, err
}

// readHeader reads what matters of the header and returns the body's length.
func (w *wire) readHeader(a *answer) (length int, err error) {
	length, w.closing = -1, false
	for {
		line, err := w.reader.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			length, err = strconv.Atoi(string(value))
		case bytes.EqualFold(name, []byte("Retry-After")):
			var seconds int
			seconds, err = strconv.Atoi(string(value))
			a.retryAfter = time.Duration(seconds) * time.Second
		case bytes.EqualFold(name, []byte("Connection")):
			w.closing = bytes.EqualFold(value, []byte("close"))
		}
		if err != nil {
			return 0, fmt.Errorf("%w: %q", errUnreadable, line)
		}
	}
	if length < 0 || length > maxAnswer {
		return 0, fmt.Errorf("%w: no acceptable Content-Length", errUnreadable)
	}
	return length, nil
}

// plainRequest is a request that is not worth optimising.
func plainRequest(method, host, path, body string) []byte {
	return requestWith("", method, host, path, body)
}

// requestWith is one with more header lines, each ended by CRLF.
func requestWith(header, method, host, path, body string) []byte {
	return fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		method, path, host, header, len(body), body)
}

// adminPort is where operators reach a service, and the token it wants.
type adminPort struct{ addr, token string }

func (a adminPort) request(header, method, path, body string) []byte {
	return requestWith("Authorization: Bearer "+a.token+"\r\n"+header, method, a.addr, path, body)
}
