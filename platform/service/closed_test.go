package service_test

import (
	"net"
	"net/http"
	"testing"
)

// Behind the gateway a service has no port that others reach, and works.
func TestAClosedPublicPort(t *testing.T) {
	d := startDaprd(t)
	none := []string{}
	d.subscribed.Store(&none)
	env := environment(t, d)
	delete(env, "QUADRILLE_DATABASE_URL")
	env["QUADRILLE_PUBLIC_PORT"] = "closed"
	r := start(t, bare(), env)
	r.eventually("/readyz", http.StatusOK)
	r.health("/metrics", http.StatusOK)
	if c, err := net.Dial("tcp", env["QUADRILLE_HTTP_ADDR"]); err == nil {
		_ = c.Close()
		t.Error("the public port is open")
	}
	if err := r.stop(); err != nil {
		t.Errorf("it ends with %v", err)
	}
}
