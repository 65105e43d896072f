package sidecar_test

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quadrille.internal/platform/sidecar"
)

func TestRetry(t *testing.T) {
	for name, test := range map[string]struct {
		answers []codes.Code
		calls   int
		end     codes.Code
	}{
		"a replica is gone":           {[]codes.Code{codes.Unavailable, codes.Unavailable, codes.OK}, 3, codes.OK},
		"a replica's stop cut a call": {[]codes.Code{codes.Canceled, codes.OK}, 2, codes.OK},
		"it is refused":               {[]codes.Code{codes.NotFound}, 1, codes.NotFound},
		"it took too long":            {[]codes.Code{codes.DeadlineExceeded}, 1, codes.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			err := sidecar.Retry(t.Context(), func() error {
				calls++
				return status.Error(test.answers[calls-1], "answer")
			})
			if status.Code(err) != test.end || calls != test.calls {
				t.Errorf("%v after %d calls, want %s after %d", err, calls, test.end, test.calls)
			}
		})
	}
	t.Run("the caller gave up", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		calls := 0
		err := sidecar.Retry(ctx, func() error { calls++; cancel(); return status.Error(codes.Canceled, "by us") })
		if err == nil || calls != 1 {
			t.Errorf("%v after %d calls, want one", err, calls)
		}
	})
}
