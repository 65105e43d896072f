package rest

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Begin has the answer last. The context that it returns ends when the caller goes away or
// the service stops, and not before. After it the handler sets deadlines of its own for
// what it writes, and returns nil.
type Begin func() (context.Context, error)

// StreamHandler answers like a Handler, or calls begin and then goes on answering.
type StreamHandler func(w http.ResponseWriter, r *http.Request, begin Begin) error

// Stream returns h as an http.HandlerFunc. Until it calls begin it is bounded as by Handle.
func (a API) Stream(h StreamHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		stop := func() {}
		defer func() { stop() }()
		a.Handle(func(w http.ResponseWriter, bounded *http.Request) error {
			return h(w, bounded, func() (ctx context.Context, err error) {
				ctx, stop, err = begin(w, r.Context())
				return ctx, err
			})
		})(w, r)
	}
}

func begin(w http.ResponseWriter, ctx context.Context) (context.Context, func(), error) { //nolint:revive // as http.Handler has it
	none := func() {}
	if s := slotOf(w); s != nil {
		if err := s.lasts(); err != nil {
			return ctx, none, err
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		unhook := context.AfterFunc(s.limits.ending, cancel)
		none = func() { unhook(); cancel() }
	}
	// The server's deadlines are for requests that are answered at once.
	c := http.NewResponseController(w)
	err := errors.Join(c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Time{}))
	if errors.Is(err, http.ErrNotSupported) {
		err = nil // the answer is not on a connection
	}
	return ctx, none, err
}

// slotOf returns the slot that a request has, or nil where nothing bounds it.
func slotOf(w http.ResponseWriter) *slot {
	for {
		switch t := w.(type) {
		case *slot:
			return t
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return nil
		}
	}
}
