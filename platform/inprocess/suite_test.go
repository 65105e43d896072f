package inprocess_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"quadrille.internal/platform/inprocess"
	"quadrille.internal/platform/transport"
	"quadrille.internal/platform/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	transporttest.Run(t, transporttest.Harness{
		Network: func(*testing.T) transport.Network { return inprocess.New(inprocess.Config{Hears: transporttest.Hears}) },
		Lease:   500 * time.Millisecond,
		Again:   7 * time.Second, // after a call that timed out, and its lease
	})
}
