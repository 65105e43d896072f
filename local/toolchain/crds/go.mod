module quadrille.internal/local/toolchain/crds

go 1.26.5

// The modules whose CRDs `quad deploy check` gives its API server. It reads this list and
// their files; no code of them is built, so `go mod tidy` would empty it.
require (
	github.com/argoproj/argo-cd/v3 v3.5.7
	github.com/argoproj/argo-rollouts v1.9.0
	github.com/dapr/dapr v1.18.2
	github.com/external-secrets/external-secrets v1.3.2
	github.com/kedacore/keda/v2 v2.16.1
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
