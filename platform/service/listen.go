package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"

	"golang.org/x/sys/unix"

	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/transport"
)

// Listen opens a port, which may be another process's too if both ask for that: the kernel
// shares connections out between them.
func Listen(ctx context.Context, addr string, shared bool) (net.Listener, error) {
	var listen net.ListenConfig
	if shared {
		listen.Control = reusePort
	}
	return listen.Listen(ctx, "tcp", addr)
}

func reusePort(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) //nolint:gosec // it fits
	}); cerr != nil {
		return cerr
	}
	if err != nil {
		return fmt.Errorf("share the port: %w", err)
	}
	return nil
}

// Serve returns what serves h until its context ends, and then finishes the requests under
// way, or cuts them after a while.
func Serve(ln *rest.ConnLimit, h http.Handler) func(context.Context) error {
	return func(ctx context.Context) error {
		srv := ln.Server(h)
		finished := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(finished)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), transport.StopTimeout)
			defer cancel()
			if srv.Shutdown(ctx) != nil {
				_ = srv.Close() // requests that hang are cut
			}
		})
		err := srv.Serve(ln)
		if !stop() {
			<-finished // Serve returns at once, before the requests under way
		}
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	}
}
