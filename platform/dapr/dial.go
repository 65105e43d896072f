package dapr

import (
	"context"
	"net"

	"quadrille.internal/platform/httpcall"
	"quadrille.internal/platform/sidecar"
)

// Dial implements transport.Transport: the callee's sidecar checks whether we may. A
// connection that was not opened has carried nothing, so to try again repeats no request.
func (t *Transport) Dial(ctx context.Context, service string) (c net.Conn, err error) {
	err = sidecar.Retry(ctx, func() error {
		c, err = httpcall.Open(ctx, t.To(service))
		return err
	})
	return c, err
}
