package gateway

import (
	"net"
	"os/exec"
	"sync"
	"testing"
	"time"

	"quadrille.internal/platform/servicetest"
)

// redisServer is one of the test's own, which it can stop.
type redisServer struct {
	addr string
	stop func()
}

func startRedis(t *testing.T) *redisServer {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("SKIPPED: there is no redis-server, so the shared count is not tested")
	}
	r := &redisServer{addr: servicetest.FreeAddr(t)}
	r.start(t)
	return r
}

func (r *redisServer) start(t *testing.T) {
	t.Helper()
	host, port, _ := net.SplitHostPort(r.addr)
	cmd := exec.Command("redis-server", "--bind", host, "--port", port, "--save", "", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(r.stop)
	servicetest.Await(t, "Redis answers", func() bool {
		c, err := net.DialTimeout("tcp", r.addr, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}
