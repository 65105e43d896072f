package stack

import (
	"context"
	"os"
	"path/filepath"
	"slices"
)

// The modules of the Kubernetes tools.
const (
	KubernetesAPI = "kubernetes" // etcd, kube-apiserver, kube-controller-manager, kubectl
	Rollouts      = "rollouts"   // the controller of Argo Rollouts
	Collector     = "collector"  // the OpenTelemetry Collector
)

// kubernetesTools need no Dapr, and no stack needs them: `quad deploy check` and the tests
// of deploy/ build them when they are missing.
var kubernetesTools = []tool{
	{KubernetesAPI, []string{"."}, []string{"kubernetes"}, "about 10 min the first time"},
	{Rollouts, []string{"github.com/argoproj/argo-rollouts/cmd/rollouts-controller"}, []string{"rollouts-controller"}, "about 4 min the first time"},
	{Collector, []string{"."}, []string{"collector"}, "about 3 min the first time"},
}

// KubernetesTool is a program of local/toolchain, below .local/kubernetes.
func (s *Stack) KubernetesTool(name string) string {
	return filepath.Join(s.Root, ".local", "kubernetes", "bin", name)
}

// BuildKubernetes builds the named modules of the Kubernetes tools, where they are not there
// for the present sources.
func (s *Stack) BuildKubernetes(ctx context.Context, modules ...string) error {
	if err := os.MkdirAll(s.KubernetesTool(""), 0o755); err != nil {
		return err
	}
	for _, t := range kubernetesTools {
		if !slices.Contains(modules, t.module) {
			continue
		}
		if err := s.buildTool(ctx, t, s.KubernetesTool("")); err != nil {
			return err
		}
	}
	return nil
}

// KubernetesBuilt reports whether the named modules are built for the present sources.
func (s *Stack) KubernetesBuilt(modules ...string) bool {
	return !slices.ContainsFunc(kubernetesTools, func(t tool) bool {
		return slices.Contains(modules, t.module) && !s.toolBuilt(t, s.KubernetesTool(""))
	})
}
