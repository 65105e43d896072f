package deploycheck

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"quadrille.internal/local/kube"
	"quadrille.internal/local/stack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// built returns the repository and the programs of local/toolchain/kubernetes.
func built(t *testing.T) (root, kubernetes string) {
	t.Helper()
	s, err := stack.New(stack.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if !s.KubernetesBuilt(stack.KubernetesAPI) {
		t.Skip("kube-apiserver is not built for the present sources: `quad deploy check` builds it (about 10 minutes the first time)")
	}
	return s.Root, s.KubernetesTool("kubernetes")
}

func TestDeployHasNoFaults(t *testing.T) {
	root, kubernetes := built(t)
	r, err := Run(t.Context(), Config{Root: root, Kubernetes: kubernetes, Collector: collector(t), Step: func(what string) { t.Log(what) }})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Faults {
		t.Errorf("%+v", f)
	}
	t.Logf("%d objects and %d pod templates of %v; not seen: %v", r.Objects, r.Pods, r.Environments, r.Unseen)
	if r.Objects == 0 || r.Pods == 0 {
		t.Error("nothing was looked at")
	}
}

// What the API server refuses is told with its field; what it takes is no fault.
func TestAPIServer(t *testing.T) {
	root, kubernetes := built(t)
	server, err := StartServer(t.Context(), root, kubernetes, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	t.Run("sidecars", func(t *testing.T) { sidecarsAreRestricted(t, root, server.Client) })
	t.Run("sound manifests", func(t *testing.T) {
		faults, unseen := admitted(t, server.Client, base(t))
		for _, f := range faults {
			t.Errorf("%+v", f)
		}
		if len(unseen) != 3 {
			t.Errorf("unseen are %v, want those without a CRD", unseen)
		}
	})
	for name, test := range map[string]struct{ old, new, object, field, problem string }{
		"an unknown field":        {"spec: {maxUnavailable: 1,", "spec: {maxUnavailabel: 1,", "PodDisruptionBudget quad/stock", "spec.maxUnavailabel", "no such field"},
		"a field in a list":       {"ports: [{name: http, containerPort: 8080}", "ports: [{name: http, containrPort: 8080}", "Rollout quad/shop", "containrPort", ""},
		"a field of Dapr":         {"type: pubsub.kafka\n", "typ: pubsub.kafka\n  type: pubsub.kafka\n", "Component quad/pubsub", "spec.typ", "no such field"},
		"a field of Argo":         {"{setWeight: 10}", "{setWeigth: 10}", "Rollout quad/shop", "setWeigth", "no such field"},
		"an unknown kind":         {"kind: PodDisruptionBudget", "kind: PodDisruption", "PodDisruption quad/stock", "kind", "does not know policy/v1 PodDisruption"},
		"an old version":          {"autoscaling/v2", "autoscaling/v2beta2", "HorizontalPodAutoscaler quad/stock", "kind", "does not know autoscaling/v2beta2"},
		"a value that is wrong":   {"maxReplicas: 3", "maxReplicas: 0", "HorizontalPodAutoscaler quad/stock", "spec.maxReplicas", "greater than"},
		"a value of another type": {"maxReplicas: 3", "maxReplicas: many", "HorizontalPodAutoscaler quad/stock", "", "cannot unmarshal string"},
		"a selector of others":    {"kind: Deployment\nmetadata: {name: stock, namespace: quad, labels: {app.kubernetes.io/name: stock}}\nspec:\n  selector: {matchLabels: {app: stock}}", "kind: Deployment\nmetadata: {name: stock, namespace: quad, labels: {app.kubernetes.io/name: stock}}\nspec:\n  selector: {matchLabels: {app: shop}}", "Deployment quad/stock", "spec.template.metadata.labels", "selector"},
		"a pod that may be root":  {"runAsNonRoot: true,", "runAsNonRoot: false,", "Job quad/migrate", "spec.template.spec", "runAsNonRoot"},
		"a pod with capabilities": {"capabilities: {drop: [ALL]}", "capabilities: {add: [NET_ADMIN]}", "Job quad/migrate", "spec.template.spec", "capabilities"},
		"no seccomp profile":      {", seccompProfile: {type: RuntimeDefault}", "", "Job quad/migrate", "spec.template.spec", "seccompProfile"},
		"no such account":         {"serviceAccountName: shop", "serviceAccountName: shops", "Rollout quad/shop", "spec.template", "service account"},
	} {
		t.Run(name, func(t *testing.T) {
			broken := strings.Replace(base(t), test.old, test.new, 1)
			if broken == base(t) {
				t.Fatalf("testdata/base.yaml does not have %q", test.old)
			}
			faults, _ := admitted(t, server.Client, broken)
			if len(faults) == 0 {
				t.Fatal("it was admitted")
			}
			for _, f := range faults {
				if f.Object != test.object || !strings.Contains(f.Field, test.field) || !strings.Contains(f.Problem, test.problem) || f.Remedy == "" {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}

func admitted(t *testing.T, client *kube.Client, text string) ([]Fault, []string) {
	t.Helper()
	s := &set{manifests: parse(t, text)}
	faults, unseen, err := admit(t.Context(), client, s.manifests, s.findPods(), func(pod) kube.Object { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return faults, unseen
}

// A fault names the file in which an object is written, not the overlay that has it.
func TestRender(t *testing.T) {
	_, kubernetes := built(t)
	root := writeTree(t, map[string]string{
		"deploy/services/shop/base/kustomization.yaml":                "resources: [account.yaml]\nnamespace: quad\nconfigMapGenerator: [{name: shop, literals: [A=b]}]\n",
		"deploy/services/shop/base/account.yaml":                      "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: shop}\n",
		"deploy/services/shop/overlays/production/kustomization.yaml": "resources: [../../base]\ncomponents: [../../../../environments/production]\n",
		"deploy/services/shop/overlays/dev/kustomization.yaml":        "resources: [../../nowhere]\n",
		"deploy/environments/production/kustomization.yaml":           "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnamePrefix: p-\n",
		"deploy/argocd/project.yaml":                                  "apiVersion: argoproj.io/v1alpha1\nkind: AppProject\nmetadata: {name: quad}\n",
	})
	tree, err := readTree(root)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(tree.environments(), " "); got != "dev production" {
		t.Fatalf("environments are %s", got)
	}
	found, faults, err := tree.render(t.Context(), kubernetes, "production")
	if err != nil || len(faults) > 0 {
		t.Fatal(err, faults)
	}
	files := make(map[string]string)
	for _, m := range found {
		files[m.Kind()+" "+strings.Split(m.Name(), "-")[0]] = m.file
	}
	for object, want := range map[string]string{
		"ServiceAccount p": "deploy/services/shop/base/account.yaml",
		"ConfigMap p":      "deploy/services/shop/base/kustomization.yaml",
		"AppProject quad":  "deploy/argocd/project.yaml",
	} {
		if files[object] != want {
			t.Errorf("%s is in %q, want %s: %v", object, files[object], want, files)
		}
	}
	if _, faults, err = tree.render(t.Context(), kubernetes, "dev"); err != nil || len(faults) != 1 {
		t.Errorf("a folder that can't be rendered: %v, %v", faults, err)
	}
}

func TestEqualKeysAreAFault(t *testing.T) {
	root := writeTree(t, map[string]string{"deploy/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  A: b\n  A: c\n"})
	tree, err := readTree(root)
	if err != nil || len(tree.faults) != 1 || !strings.Contains(tree.faults[0].Problem, `"A" already defined`) || tree.faults[0].File != "deploy/a.yaml" {
		t.Errorf("faults are %+v, %v", tree.faults, err)
	}
}

func writeTree(t *testing.T, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	files[".local/keep"] = ""
	for path, text := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}
