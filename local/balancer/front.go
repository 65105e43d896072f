package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lookEvery is how often replicas are asked whether they are ready. One that stops says so
	// for longer than this before its port closes (QUADRILLE_DRAIN).
	lookEvery   = 250 * time.Millisecond
	usualLook   = 2 * time.Second // until it is answered
	dialTimeout = time.Second
)

// front is an address, and the replicas behind it.
type front struct {
	addr     string
	replicas []*replica
	// lookTimeout is how long a replica may take to say whether it is ready.
	lookTimeout time.Duration
	next        atomic.Uint64
	ln          net.Listener
}

type replica struct {
	addr, health string
	ready        atomic.Bool
}

// parseFront reads ADDR=REPLICA@HEALTH,...
func parseFront(text string) (*front, error) {
	addr, list, found := strings.Cut(text, "=")
	if !found {
		return nil, fmt.Errorf("%q is not ADDR=REPLICA@HEALTH", text)
	}
	f := &front{addr: addr, lookTimeout: usualLook}
	for one := range strings.SplitSeq(list, ",") {
		at, health, found := strings.Cut(one, "@")
		if !found {
			return nil, fmt.Errorf("%q is not REPLICA@HEALTH", one)
		}
		f.replicas = append(f.replicas, &replica{addr: at, health: health})
	}
	return f, nil
}

func (f *front) listen(ctx context.Context) (err error) {
	f.ln, err = new(net.ListenConfig).Listen(ctx, "tcp", f.addr)
	return err
}

// serve hands out connections until ctx ends, and then cuts those that are left.
func (f *front) serve(ctx context.Context, log *slog.Logger) error {
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, r := range f.replicas {
		all.Go(func() { r.watch(ctx, f.lookTimeout, log) })
	}
	stop := context.AfterFunc(ctx, func() { _ = f.ln.Close() })
	defer stop()
	for {
		client, err := f.ln.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept on %s: %w", f.addr, err)
		}
		all.Go(func() {
			if err := f.hand(ctx, client); err != nil {
				log.WarnContext(ctx, "no replica takes a connection", "addr", f.addr, "err", err)
			}
		})
	}
}

// watch asks a replica whether it is ready.
func (r *replica) watch(ctx context.Context, lookTimeout time.Duration, log *slog.Logger) {
	client := &http.Client{Timeout: lookTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		ready := isReady(ctx, client, "http://"+r.health+"/readyz")
		if ctx.Err() != nil {
			return
		}
		if r.ready.Swap(ready) != ready {
			log.InfoContext(ctx, "replica", "addr", r.addr, "ready", ready)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func isReady(ctx context.Context, client *http.Client, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body) // so that the connection is used again
	return res.StatusCode == http.StatusOK
}

// order is in which order replicas are tried: those that are ready in turn, then the others,
// since one that answers late may still work.
func (f *front) order() []*replica {
	n := len(f.replicas)
	first := int(f.next.Add(1) % uint64(n)) //nolint:gosec // less than n
	var ready, others []*replica
	for i := range n {
		r := f.replicas[(first+i)%n]
		if r.ready.Load() {
			ready = append(ready, r)
		} else {
			others = append(others, r)
		}
	}
	return append(ready, others...)
}

// hand joins a client to a replica until one of them ends, or ctx does.
func (f *front) hand(ctx context.Context, client net.Conn) error {
	defer client.Close()
	var failed error
	for _, r := range f.order() {
		server, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", r.addr)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		join(ctx, client, server)
		return nil
	}
	return failed
}

// join copies both ways. Each side's end is told to the other, which may still answer.
func join(ctx context.Context, client, server net.Conn) {
	defer server.Close()
	stop := context.AfterFunc(ctx, func() { _ = client.Close(); _ = server.Close() })
	defer stop()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{server, client}, {client, server}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // who ends, and why, is theirs
			if c, ok := way[0].(*net.TCPConn); ok {
				_ = c.CloseWrite()
			}
		})
	}
	both.Wait()
}
