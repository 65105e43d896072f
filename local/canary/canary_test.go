package canary

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"quadrille.internal/local/deploycheck"
	"quadrille.internal/local/kube"
	"quadrille.internal/local/stack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	namespace = "quadrille"
	replicas  = 10 // so that one pod is 10 %
	gateHolds = 3 * time.Second
	patience  = 5 * time.Minute
)

// Images of releases, which the test's shop knows.
const (
	before   = "checkout:before"
	good     = "checkout:good"
	hanging  = "checkout:hanging"   // its orders do not end
	offBooks = "checkout:off-books" // its HTTP is well and its orders end, but charges are lost
)

func TestReleaseOfCheckout(t *testing.T) {
	s := programs(t)
	c, prometheus := newCluster(t, s, map[string]release{
		before: {ends: 1, balanced: 1}, good: {ends: 1, balanced: 1}, hanging: {ends: 0, balanced: 1}, offBooks: {ends: 1, balanced: 0},
	})
	rollout := install(t, c, s, prometheus)
	c.release(t, rollout, before)
	c.await(t, rollout, "the first release stands", func(r kube.Object) bool { return healthy(r) })

	t.Run("a good one waits at the gate, and goes to all pods when somebody opens it", func(t *testing.T) {
		c.release(t, rollout, good)
		c.await(t, rollout, "it waits at the gate", func(r kube.Object) bool { return r.Text("status", "phase") == "Paused" && c.mostPods()[good] > 1 })
		// It also takes the controller a moment to read what it wrote: a gate that is opened
		// before stays closed, since the controller then overlooks it.
		c.holds(t, rollout)
		if runs := c.analyses(t, good); len(runs) < 2 || slices.ContainsFunc(runs, func(r kube.Object) bool { return r.Text("status", "phase") != "Successful" }) {
			t.Errorf("before the gate %d analyses ended: %v", len(runs), outcomes(runs))
		}
		if most := c.mostPods()[good]; most != replicas/2 {
			t.Errorf("at the gate %d of %d pods are of the new release", most, replicas)
		}
		c.promote(t, rollout)
		c.await(t, rollout, "all pods are of the new release", func(r kube.Object) bool { return healthy(r) && c.mostPods()[good] >= replicas })
	})
	for name, test := range map[string]struct{ image, metric string }{
		"one whose orders do not end goes back": {hanging, "sagas-end"},
		"one whose charges are lost goes back":  {offBooks, "money-in-balance"},
	} {
		t.Run(name, func(t *testing.T) {
			c.release(t, rollout, test.image)
			c.await(t, rollout, "it is given up", func(r kube.Object) bool { return r.At("status", "abort") == true })
			if most := c.mostPods()[test.image]; most != 1 {
				t.Errorf("%d pods were of that release, want 1: the tenth part", most)
			}
			var failed []string
			for _, run := range c.analyses(t, test.image) {
				for _, m := range run.List("status", "metricResults") {
					if m.Text("phase") == "Failed" {
						failed = append(failed, m.Text("name"))
					}
				}
			}
			if !slices.Equal(failed, []string{test.metric}) {
				t.Errorf("it was given up for %v, want %s", failed, test.metric)
			}
			c.await(t, rollout, "the release before has all pods", func(r kube.Object) bool {
				return number(r, "availableReplicas") == replicas && c.podsOf(t, good) == replicas
			})
		})
	}
}

// install adds what deploy/ has for releases of checkout, and returns the Rollout. The
// analyses ask the test's Prometheus, and look back over seconds.
func install(t *testing.T, c *cluster, s *stack.Stack, prometheus string) (rollout kube.Object) {
	t.Helper()
	objects, err := deploycheck.Render(t.Context(), s.Root, s.KubernetesTool("kubernetes"), "production")
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(objects, func(a, b kube.Object) int { return rank(a) - rank(b) })
	for _, o := range objects {
		switch name := o.Kind() + " " + o.Name(); {
		case name == "Rollout checkout":
			rollout = o
			continue
		case o.Kind() == "AnalysisTemplate":
			quicken(o, prometheus)
		case name != "Namespace "+namespace && name != "ServiceAccount checkout":
			continue
		}
		if err := c.Apply(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	if rollout == nil {
		t.Fatal("deploy/ has no Rollout of checkout")
	}
	rollout.Map("spec")["replicas"] = replicas // its autoscaler is not here
	return rollout
}

// rank has namespaces come first.
func rank(o kube.Object) int {
	if o.Kind() == "Namespace" {
		return 0
	}
	return 1
}

// quicken gives an analysis other defaults of its arguments.
func quicken(template kube.Object, prometheus string) {
	for _, arg := range template.List("spec", "args") {
		if value, there := map[string]string{"prometheus": prometheus, "window": "10s", "interval": "1s"}[arg.Text("name")]; there {
			arg["value"] = value
		}
	}
}

// release applies the Rollout with another image.
func (c *cluster) release(t *testing.T, rollout kube.Object, image string) {
	t.Helper()
	rollout.List("spec", "template", "spec", "containers")[0]["image"] = image
	if err := c.Apply(t.Context(), rollout); err != nil {
		t.Fatal(err)
	}
}

// promote opens the gate, as kubectl argo rollouts promote does.
func (c *cluster) promote(t *testing.T, rollout kube.Object) {
	t.Helper()
	if err := c.Merge(t.Context(), rollout, "status", kube.Object{"status": kube.Object{"pauseConditions": nil}}); err != nil {
		t.Fatal(err)
	}
}

// await waits until the Rollout, as the controller last saw it, is so.
func (c *cluster) await(t *testing.T, rollout kube.Object, what string, isSo func(kube.Object) bool) {
	t.Helper()
	tick, end := time.NewTicker(100*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for {
		now, err := c.Get(t.Context(), rollout)
		if err != nil {
			t.Fatal(err)
		}
		seen := now.Text("status", "observedGeneration") == now.Text("metadata", "generation")
		if seen && isSo(now) {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not so after %s: %s; the Rollout is %v; analyses: %v", patience, what, now["status"], outcomes(c.analyses(t, "")))
		}
	}
}

// holds checks for a while that the gate stays closed.
func (c *cluster) holds(t *testing.T, rollout kube.Object) {
	t.Helper()
	tick, end := time.NewTicker(200*time.Millisecond), time.After(gateHolds)
	defer tick.Stop()
	for {
		now, err := c.Get(t.Context(), rollout)
		if err != nil || now.Text("status", "phase") != "Paused" {
			t.Fatalf("nobody opened the gate, and it is %v, %v", now["status"], err)
		}
		select {
		case <-tick.C:
		case <-end:
			return
		}
	}
}

func healthy(r kube.Object) bool {
	return r.Text("status", "phase") == "Healthy" && number(r, "availableReplicas") == replicas
}

func number(r kube.Object, field string) (n int) {
	_, _ = fmt.Sscan(r.Text("status", field), &n) // 0 while the field is not there
	return n
}

// analyses are those of the release with an image; "" is all.
func (c *cluster) analyses(t *testing.T, image string) (found []kube.Object) {
	t.Helper()
	hashes := make(map[string]bool)
	for _, set := range c.list(t, "apps/v1", "ReplicaSet") {
		if image == "" || set.Text("spec", "template", "spec", "containers", "0", "image") == image {
			hashes[set.Text("metadata", "labels", hashLabel)] = true
		}
	}
	for _, run := range c.list(t, "argoproj.io/v1alpha1", "AnalysisRun") {
		if hashes[run.Text("metadata", "labels", hashLabel)] {
			found = append(found, run)
		}
	}
	return found
}

func (c *cluster) podsOf(t *testing.T, image string) (n int) {
	t.Helper()
	for _, p := range c.list(t, "v1", "Pod") {
		if p.Text("spec", "containers", "0", "image") == image {
			n++
		}
	}
	return n
}

func (c *cluster) list(t *testing.T, apiVersion, kind string) []kube.Object {
	t.Helper()
	found, err := c.List(t.Context(), kube.Object{"apiVersion": apiVersion, "kind": kind, "metadata": kube.Object{"namespace": namespace}})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// outcomes tells analyses in a line.
func outcomes(runs []kube.Object) string {
	var b strings.Builder
	for _, run := range runs {
		fmt.Fprintf(&b, "%s %s %s", run.Name(), run.Text("status", "phase"), run.Text("status", "message"))
		for _, m := range run.List("status", "metricResults") {
			fmt.Fprintf(&b, "; %s %s %s %v", m.Text("name"), m.Text("phase"), m.Text("message"), m["measurements"])
		}
		b.WriteString("\n")
	}
	return b.String()
}

// gone reports whether an object was deleted in the meantime.
func gone(err error) bool {
	refusal, refused := errors.AsType[*kube.Refusal](err)
	return refused && (refusal.Code == http.StatusNotFound || refusal.Code == http.StatusConflict)
}
