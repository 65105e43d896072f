package transport

import (
	"strconv"
	"testing"
	"time"

	"quadrille.internal/platform/dapr"
	"quadrille.internal/platform/transport"
	"quadrille.internal/platform/transporttest"
)

func TestConformance(t *testing.T) {
	if sys == nil {
		t.Skip("runs over Dapr; package inprocess runs the suite in one process")
	}
	transporttest.Run(t, transporttest.Harness{
		Network:  func(*testing.T) transport.Network { return dapr.Network{} },
		Settings: settings,
		// After the 4 s that deliveries under way have at the end of a process.
		Again: 10 * time.Second,
		// Both components hand over one batch of a topic at a time.
		InTurn: true,
	})
}

// settings of a service are those that the stack would start it with.
func settings(service string) map[string]string {
	app := sys.App(service)
	return map[string]string{
		"QUADRILLE_GRPC_ADDR": app.Env["QUADRILLE_GRPC_ADDR"],
		"DAPR_GRPC_PORT":      strconv.Itoa(app.DaprGRPC),
		"APP_API_TOKEN":       sys.APIToken(),
		"DAPR_API_TOKEN":      sys.DaprAPIToken(),
	}
}
