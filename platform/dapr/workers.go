package dapr

import (
	"context"
	"time"

	"google.golang.org/grpc"
)

const (
	// workItems is the stream by which the sidecar's workflow engine gives a worker its work.
	workItems = "/TaskHubSidecarService/GetWorkItems"

	workersLook        = time.Second
	workersLookTimeout = 2 * time.Second
	// stuckAfter looks an engine that has not taken in its worker counts as stuck. It does
	// so at once, or when turns have ended that the worker before has left, which may wait
	// for the database.
	stuckAfter = 30
)

// engine is the connection to the sidecar's workflow engine. It tells of the worker's streams.
type engine struct {
	grpc.ClientConnInterface
	workers chan context.Context
}

// NewStream begins a stream.
func (e engine) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if method != workItems {
		return e.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	}
	ctx, end := context.WithCancel(ctx)
	s, err := e.ClientConnInterface.NewStream(ctx, desc, method, append(opts, grpc.OnFinish(func(error) { end() }))...)
	if err != nil {
		end()
		return nil, err
	}
	for {
		select {
		case e.workers <- ctx:
			return s, nil
		case <-e.workers: // it has ended, since there is one worker
		}
	}
}

// watchWorkers has the sidecar end where its engine is stuck: when a worker goes, the engine
// of Dapr 1.18 may wait for a turn that waits for the next worker, which it then never takes
// in (dapr/dapr#10408). No workflow runs until the sidecar is started again: by Kubernetes,
// as every container that ends, and by the daprd of a local stack itself.
func (t *Transport) watchWorkers(ctx context.Context, every time.Duration) {
	for {
		select {
		case <-ctx.Done():
			return
		case stream := <-t.workers:
			t.watchWorker(ctx, stream, every)
		}
	}
}

// watchWorker looks until the engine has taken in the worker of a stream, or that ends.
func (t *Transport) watchWorker(ctx, stream context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for looks := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-stream.Done():
			return
		case <-tick.C:
		}
		workers, told, err := t.lookAtWorkers(ctx)
		if err != nil {
			continue // away, or busy: nothing is known
		}
		if workers > 0 || !told {
			return
		}
		if looks++; looks < stuckAfter {
			continue
		}
		looks = 0
		t.member.Log.ErrorContext(ctx, "the sidecar's workflow engine is stuck, as Dapr's may be when a worker goes (dapr/dapr#10408): "+
			"no workflow runs; the sidecar is told to end, and has to be started again", "waited", (stuckAfter * every).String())
		if err := t.End(ctx); err != nil {
			t.member.Log.WarnContext(ctx, "sidecar not told to end, will try again", "err", err)
		}
	}
}

func (t *Transport) lookAtWorkers(ctx context.Context) (n int, told bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, workersLookTimeout)
	defer cancel()
	return t.Workers(ctx)
}
