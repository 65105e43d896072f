package deploycheck

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"quadrille.internal/local/kube"
)

const (
	// connsOfJob is what a migration holds: its own connection, and now and then one that looks
	// what it waits for.
	connsOfJob = 2
	// connsOfPeople is for auditors (quad opens one for each database), backups, exporters,
	// CloudNativePG itself, and what PostgreSQL keeps for its superuser.
	connsOfPeople = 30
	// memoryOfConn is what PostgreSQL takes for a connection that has been used for a while, in MiB.
	memoryOfConn = 5
)

// connections adds up what all pods at their most may open to the database server, and holds it
// against what that server allows and has memory for. While a release rolls out there are more pods: those
// that begin, and as many that end.
func connections(s *set) {
	clusters := s.of("Cluster")
	if len(clusters) != 1 || clusters[0].Text("spec", "postgresql", "parameters", "max_connections") == "" {
		return // each database is on a server of its own, or on one outside
	}
	server, sum := clusters[0], connsOfPeople
	for _, p := range s.pods {
		sum += s.connsOf(p)
	}
	const field = "spec.postgresql.parameters"
	most := number(server.At("spec", "postgresql", "parameters", "max_connections"))
	if sum > most {
		s.fault(server, field+".max_connections", fmt.Sprintf("all pods at their most replicas open %d connections, and the server takes %d", sum, most),
			"lower QUADRILLE_DATABASE_CONNS or the most replicas, or raise max_connections (and the memory)")
	}
	memory, limit := mebibytes(server.Text("spec", "postgresql", "parameters", "shared_buffers"))+most*memoryOfConn, mebibytes(server.Text("spec", "resources", "limits", "memory"))
	if limit > 0 && memory > limit {
		s.fault(server, field+".max_connections", fmt.Sprintf("%d connections of some %d MiB and shared_buffers are %d MiB, and the server has %d", most, memoryOfConn, memory, limit),
			"lower max_connections, put a pooler before the server, or raise resources.limits.memory")
	}
}

// connsOf is how many connections all pods of a workload open at most.
func (s *set) connsOf(p pod) (sum int) {
	replicas := s.mostPods(p)
	for _, c := range p.containers() {
		env := s.env(p, c)
		pool := number(env["QUADRILLE_DATABASE_CONNS"])
		switch {
		case given(env, "QUADRILLE_MIGRATE_DATABASE_URL"):
			sum += connsOfJob
		case given(env, "QUADRILLE_DATABASE_URL") && pool == 0:
			s.fault(p.owner, c.field+".env", "it does not say how many connections to the database it opens at most", "set QUADRILLE_DATABASE_CONNS")
		case given(env, "QUADRILLE_DATABASE_URL"):
			sum += replicas * pool
		}
	}
	for _, m := range s.of("Component") {
		if m.Text("spec", "type") != "state.postgresql" || p.app() == "" || !contains(m.Texts("scopes"), p.app()) {
			continue
		}
		pool := 0
		for _, item := range m.List("spec", "metadata") {
			if item.Text("name") == "maxConns" {
				pool = number(item.At("value"))
			}
		}
		if pool == 0 {
			s.fault(m, "spec.metadata[maxConns]", "it does not say how many connections a sidecar opens at most", "set maxConns")
		}
		sum += replicas * pool
	}
	return sum
}

// given reports whether a variable is set, or the file that it is read from.
func given(env map[string]string, name string) bool {
	_, plain := env[name]
	_, file := env[name+"_FILE"]
	return plain || file
}

// mostPods is how many pods of a workload there may be, with those of a roll-out.
func (s *set) mostPods(p pod) int {
	most := s.mostReplicas(p)
	return most + 2*s.surge(p.owner, most)
}

// mostReplicas is how many a workload may grow to.
func (s *set) mostReplicas(p pod) int {
	most := max(1, number(p.owner.At("spec", "replicas")))
	for _, m := range s.of("HorizontalPodAutoscaler", "ScaledObject") {
		ref := m.Map("spec", "scaleTargetRef")
		if m.Namespace() != p.namespace || ref.Text("name") != p.owner.Name() {
			continue
		}
		most = max(most, number(m.At("spec", "maxReplicas")), number(m.At("spec", "maxReplicaCount")))
	}
	return most
}

// surge is how many pods more than its replicas a workload may have while it rolls out.
func (s *set) surge(m manifest, replicas int) int {
	var said any
	switch m.Kind() {
	case "Deployment":
		said = m.At("spec", "strategy", "rollingUpdate", "maxSurge")
	case "Rollout":
		said = m.At("spec", "strategy", "canary", "maxSurge")
	default:
		return 0
	}
	if said == nil {
		said = "25%" // what both take where nothing is said
	}
	if share, is := strings.CutSuffix(kube.Text(said), "%"); is {
		return int(math.Ceil(float64(replicas*number(share)) / 100))
	}
	return number(said)
}

var amount = regexp.MustCompile(`^([0-9]+)(Mi|Gi|MB|GB)$`)

// mebibytes reads a size as Kubernetes and PostgreSQL write it, which both mean powers of two; 0 where it is another.
func mebibytes(text string) int {
	found := amount.FindStringSubmatch(text)
	if found == nil {
		return 0
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		return 0
	}
	if strings.HasPrefix(found[2], "G") {
		n *= 1024
	}
	return n
}
