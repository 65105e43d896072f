// Package canary tests how a release of checkout goes out: the Rollout and the analyses of
// deploy/, the controllers of Kubernetes and Argo Rollouts, and a Prometheus. Only the pods
// do not run: the test reports them ready, and serves the metrics they would have.
package canary
