package stack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	pollEvery = 25 * time.Millisecond
	// startPatience bounds the start of one part, and of all services one after the other: a
	// two-core machine needs seconds, and one that also runs tests and compilers much longer.
	startPatience = 3 * time.Minute
)

// hopeless is an error that asking again won't change.
type hopeless struct{ error }

// poll calls check until it succeeds or is hopeless. When ctx ends first, the
// error is the last one check gave, which says more than "deadline exceeded".
func poll(ctx context.Context, check func(context.Context) error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if final, ok := errors.AsType[hopeless](err); ok {
			return final.error
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// awaitReady polls check while p lives, and adds the end of p's log to a failure.
func (s *Stack) awaitReady(ctx context.Context, p *Process, check func(context.Context) error) error {
	return s.awaitReadyWithin(ctx, startPatience, p, check)
}

func (s *Stack) awaitReadyWithin(ctx context.Context, patience time.Duration, p *Process, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := poll(ctx, func(ctx context.Context) error {
		if !p.Alive() {
			return hopeless{errors.New("ended while it was starting")}
		}
		return check(ctx)
	})
	if err != nil {
		return fmt.Errorf("%s is not ready: %w%s", p.Name, err, s.logTail(p.Name))
	}
	return nil
}

var probe = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// httpOK checks that a GET of url is answered with a 2xx.
func httpOK(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := probe.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
			return fmt.Errorf("%s answers %s: %s", url, resp.Status, strings.TrimSpace(string(body)))
		}
		return nil
	}
}

// redisPong checks that a Redis server takes the password and answers PING.
func redisPong(addr, password string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return err
		}
		answers := bufio.NewReader(conn)
		if password != "" {
			if err := redisAsk(conn, answers, "OK", "AUTH", password); err != nil {
				return err
			}
		}
		return redisAsk(conn, answers, "PONG", "PING")
	}
}

func redisAsk(conn io.Writer, answers *bufio.Reader, want string, words ...string) error {
	request := fmt.Sprintf("*%d\r\n", len(words))
	for _, word := range words {
		request += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	line, err := answers.ReadString('\n')
	if err != nil {
		return err
	}
	if answer := strings.TrimSpace(line); answer != "+"+want {
		return fmt.Errorf("redis answers %s to %s", answer, words[0])
	}
	return nil
}

// logTail is the end of a part's log, to be put behind an error message.
func (s *Stack) logTail(name string) string {
	text, err := os.ReadFile(s.LogFile(name))
	if err != nil || len(text) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	const enough = 8
	if len(lines) > enough {
		lines = lines[len(lines)-enough:]
	}
	return fmt.Sprintf("; %s ends with:\n    %s", s.LogFile(name), strings.Join(lines, "\n    "))
}
