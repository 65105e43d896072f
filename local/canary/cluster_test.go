package canary

import (
	"context"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"quadrille.internal/local/deploycheck"
	"quadrille.internal/local/kube"
	"quadrille.internal/local/stack"
)

// A cluster has controllers and no nodes.
type cluster struct {
	*kube.Server
	shop *shop

	mu   sync.Mutex
	most map[string]int // ready pods at a time, by image
}

const hashLabel = "rollouts-pod-template-hash"

// newCluster starts the controllers, a Prometheus that scrapes the shop, and what stands in
// for nodes.
func newCluster(t *testing.T, s *stack.Stack, releases map[string]release) (c *cluster, prometheus string) {
	t.Helper()
	dir := t.TempDir()
	server, err := deploycheck.StartServer(t.Context(), s.Root, s.KubernetesTool("kubernetes"), dir)
	if err != nil {
		t.Fatal(err)
	}
	c = &cluster{Server: server, shop: newShop(releases), most: make(map[string]int)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Argo Rollouts says:\n%s\nPrometheus says:\n%s", c.Log("rollouts"), c.Log("prometheus"))
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	config, err := c.Kubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	metrics := httptest.NewServer(c.shop)
	t.Cleanup(metrics.Close)
	scrape := filepath.Join(dir, "prometheus.yaml")
	if err := os.WriteFile(scrape, fmt.Appendf(nil, "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs: [{job_name: shop, static_configs: [{targets: [%q]}]}]\n",
		metrics.Listener.Addr()), 0o644); err != nil {
		t.Fatal(err)
	}
	keep := func() string {
		addr, err := c.KeepPort()
		if err != nil {
			t.Fatal(err)
		}
		return addr
	}
	portOf := func(addr string) string { return strings.TrimPrefix(addr, "127.0.0.1:") }
	prometheus = keep()
	for name, args := range map[string][]string{
		"kube-controller-manager": {s.KubernetesTool("kubernetes"), "kube-controller-manager", "--kubeconfig=" + config,
			"--controllers=replicaset-controller", "--leader-elect=false", "--secure-port=0"},
		"rollouts": {s.KubernetesTool("rollouts-controller"), "--kubeconfig=" + config, "--leader-elect=false",
			"--metricsport=" + portOf(keep()), "--healthzPort=" + portOf(keep())},
		"prometheus": {"prometheus", "--config.file=" + scrape, "--storage.tsdb.path=" + filepath.Join(dir, "prometheus"),
			"--web.listen-address=" + prometheus, "--log.level=warn"},
	} {
		if err := c.Run(name, args); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var nodes sync.WaitGroup
	nodes.Go(func() {
		if err := c.runPods(ctx); err != nil {
			t.Errorf("report pods ready: %v", err)
		}
	})
	t.Cleanup(func() { stop(); nodes.Wait() }) // before the server stops
	return c, "http://" + prometheus
}

// runPods reports every pod ready, as a node would that runs it, and gives it orders.
func (c *cluster) runPods(ctx context.Context) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		pods, err := c.List(ctx, kube.Object{"apiVersion": "v1", "kind": "Pod", "metadata": kube.Object{"namespace": namespace}})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		ready := make(map[pod]int)
		images := make(map[string]int)
		for _, p := range pods {
			if p.At("metadata", "deletionTimestamp") != nil {
				continue
			}
			p["apiVersion"], p["kind"] = "v1", "Pod" // lists leave them out
			if len(p.List("status", "conditions")) == 0 {
				if err := c.Merge(ctx, p, "status", kube.Object{"status": kube.Object{"phase": "Running", "conditions": []any{
					kube.Object{"type": "Ready", "status": "True", "lastTransitionTime": time.Now().UTC().Format(time.RFC3339)},
				}}}); err != nil && ctx.Err() == nil && !gone(err) {
					return err
				}
			}
			image := p.Text("spec", "containers", "0", "image")
			ready[pod{p.Text("metadata", "labels", hashLabel), image}]++
			images[image]++
		}
		c.shop.serve(ready)
		c.mu.Lock()
		for image, n := range images {
			c.most[image] = max(c.most[image], n)
		}
		c.mu.Unlock()
	}
}

// mostPods is how many pods of an image there were at a time.
func (c *cluster) mostPods() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.most)
}

// programs returns the stack with the programs of the test, or skips it.
func programs(t *testing.T) *stack.Stack {
	t.Helper()
	s, err := stack.New(stack.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if !s.KubernetesBuilt(stack.KubernetesAPI, stack.Rollouts) {
		t.Skip("kube-apiserver or the rollouts controller is not built for the present sources: `quad test` builds them (about 15 minutes the first time)")
	}
	if _, err := exec.LookPath("prometheus"); err != nil {
		t.Skip("there is no prometheus: `quad test` installs it, or apt-get install prometheus")
	}
	return s
}
