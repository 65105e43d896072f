package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// A broker asks Redis how it is doing. Used by one goroutine.
type broker struct {
	conn   net.Conn
	reader *bufio.Reader
}

func openBroker(ctx context.Context, addr, password string) (*broker, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to Redis: %w", err)
	}
	b := &broker{conn: conn, reader: bufio.NewReader(conn)}
	if password == "" {
		return b, nil
	}
	if _, err := b.do("AUTH", password); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return b, nil
}

func (b *broker) close() { _ = b.conn.Close() }

// do sends a command; the answer is a string, an int64, nil, or a list of these.
func (b *broker) do(words ...string) (any, error) {
	var request strings.Builder
	fmt.Fprintf(&request, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(&request, "$%d\r\n%s\r\n", len(word), word)
	}
	const patience = 10 * time.Second
	if err := b.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(b.conn, request.String()); err != nil {
		return nil, err
	}
	v, err := b.read()
	if err != nil {
		return nil, fmt.Errorf("redis %s: %w", words[0], err)
	}
	return v, nil
}

// read reads one value of the protocol RESP2.
func (b *broker) read() (any, error) {
	line, err := b.reader.ReadString('\n')
	if err != nil {
		return nil, err
	}
	kind, rest := line[0], strings.TrimSpace(line[1:])
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return nil, errors.New(rest)
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	switch {
	case err != nil:
		return nil, err
	case kind == ':':
		return n, nil
	case n < 0:
		return nil, nil //nolint:nilnil // Redis's nil
	case kind == '$':
		text := make([]byte, n+2)
		_, err := io.ReadFull(b.reader, text)
		return string(text[:n]), err
	case kind == '*':
		list := make([]any, n)
		for i := range list {
			if list[i], err = b.read(); err != nil {
				return nil, err
			}
		}
		return list, nil
	default:
		return nil, fmt.Errorf("unreadable answer %q", line)
	}
}

// traffic is how many bytes went in and out of the server since its start.
func (b *broker) traffic() (bytes int64, err error) {
	v, err := b.do("INFO", "stats")
	if err != nil {
		return 0, err
	}
	text, _ := v.(string)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "total_net_input_bytes" || name == "total_net_output_bytes" {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return 0, err
			}
			bytes += n
		}
	}
	return bytes, nil
}

// undelivered counts the events that a service has not been given or has not
// acknowledged yet.
func (b *broker) undelivered() (n int64, err error) {
	v, err := b.do("SCAN", "0", "COUNT", "100000", "TYPE", "stream")
	if err != nil {
		return 0, err
	}
	page, _ := v.([]any)
	if len(page) != 2 {
		return 0, errors.New("redis SCAN: unexpected answer")
	}
	streams, _ := page[1].([]any)
	for _, stream := range streams {
		name, _ := stream.(string)
		waiting, err := b.waiting(name)
		if err != nil {
			return 0, err
		}
		n += waiting
	}
	return n, nil
}

// waiting adds up what the consumer groups of a stream have before them. Redis 7.0
// miscounts a group's lag after a restart, so one that was given the stream's last
// entry has none.
func (b *broker) waiting(stream string) (n int64, err error) {
	v, err := b.do("XINFO", "STREAM", stream)
	if err != nil {
		return 0, err
	}
	last := field(v, "last-generated-id")
	if v, err = b.do("XINFO", "GROUPS", stream); err != nil {
		return 0, err
	}
	groups, _ := v.([]any)
	for _, group := range groups {
		pending, _ := field(group, "pending").(int64)
		n += pending
		if field(group, "last-delivered-id") != last {
			lag, _ := field(group, "lag").(int64)
			n += max(1, lag)
		}
	}
	return n, nil
}

// field returns a value of an answer that lists names and values in turn.
func field(answer any, name string) any {
	list, _ := answer.([]any)
	for i := 0; i+1 < len(list); i += 2 {
		if list[i] == name {
			return list[i+1]
		}
	}
	return nil
}

// forget deletes streams.
func (b *broker) forget(streams ...string) error {
	_, err := b.do(append([]string{"DEL"}, streams...)...)
	return err
}
