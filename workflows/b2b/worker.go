package b2b

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dapr/durabletask-go/workflow"
	"google.golang.org/grpc"

	"quadrille.internal/platform/pgtx"
)

const connectAgain = 200 * time.Millisecond

// run works off the saga's activities until ctx ends. daprd starts after the
// service, and may be started again: whenever its stream breaks, what was under
// way is given up, and runs again on the next one.
func (w *worker) run(ctx context.Context, conn grpc.ClientConnInterface) error {
	r, err := w.registry() //nolint:contextcheck // an activity gets its context from the engine
	if err != nil {
		return fmt.Errorf("register workflow: %w", err)
	}
	w.serve(ctx, conn, r)
	return nil
}

func (w *worker) serve(ctx context.Context, conn grpc.ClientConnInterface, r *workflow.Registry) {
	said := false
	for ctx.Err() == nil {
		err := w.connect(ctx, conn, r)
		if err != nil && !said {
			w.log.InfoContext(ctx, "waiting for the sidecar to run workflows", "err", err)
		}
		said = err != nil
		_ = pgtx.Sleep(ctx, connectAgain)
	}
}

// connect works until the stream breaks.
func (w *worker) connect(ctx context.Context, conn grpc.ClientConnInterface, r *workflow.Registry) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &link{ClientConnInterface: conn, broken: cancel}
	if err := workflow.NewClientWithLogger(l, engineLog{w.log}).StartWorker(ctx, r); err != nil {
		return fmt.Errorf("start workflow worker: %w", err)
	}
	<-ctx.Done()
	l.streams.Wait()
	return nil
}

// link is a connection that tells when a stream of it breaks. The workflow client
// would connect again by itself, but pauses for up to 15 s.
type link struct {
	grpc.ClientConnInterface
	broken  func()
	streams sync.WaitGroup // those that have not ended
}

// NewStream begins a stream.
func (l *link) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := l.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	if err != nil {
		return nil, err
	}
	l.streams.Add(1)
	return &watched{ClientStream: s, ended: sync.OnceFunc(func() { l.broken(); l.streams.Done() })}, nil
}

type watched struct {
	grpc.ClientStream
	ended func()
}

// RecvMsg receives a message; every error ends the stream.
func (s *watched) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err != nil {
		s.ended()
	}
	return err
}

// engineLog has the workflow client log as the service does. What it calls
// information is of interest only to who mends it.
type engineLog struct{ log *slog.Logger }

func (l engineLog) Debug(v ...any)                 { l.log.Debug("workflow client", "detail", fmt.Sprint(v...)) }
func (l engineLog) Debugf(format string, v ...any) { l.Debug(fmt.Sprintf(format, v...)) }
func (l engineLog) Info(v ...any)                  { l.Debug(v...) }
func (l engineLog) Infof(format string, v ...any)  { l.Debugf(format, v...) }
func (l engineLog) Warn(v ...any)                  { l.log.Warn("workflow client", "detail", fmt.Sprint(v...)) }
func (l engineLog) Warnf(format string, v ...any)  { l.Warn(fmt.Sprintf(format, v...)) }
func (l engineLog) Error(v ...any)                 { l.log.Error("workflow client", "detail", fmt.Sprint(v...)) }
func (l engineLog) Errorf(format string, v ...any) { l.Error(fmt.Sprintf(format, v...)) }
