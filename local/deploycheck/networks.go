package deploycheck

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"quadrille.internal/local/kube"
	"quadrille.internal/platform/service/declared"
)

// Ports of sidecars and of Dapr's control plane, as its charts have them.
const (
	sidecarInternal = 50002 // by which sidecars call each other
	sidecarHTTP     = 3500
	sidecarGRPC     = 50001
	sentry          = 50001
	operator        = 6500
	placement       = 50005
	scheduler       = 50006
	postgres        = 5432
	postgresStatus  = 8000 // of CloudNativePG
	daprNamespace   = "dapr-system"
)

var (
	names           = endpoint{namespace: "kube-system", labels: kube.Object{"k8s-app": "kube-dns"}}
	publicAddress   = netip.MustParseAddr("203.0.113.1")
	metadataAddress = netip.MustParseAddr("169.254.169.254") // of cloud providers
)

// networks holds network policies against what the declarations and settings say: what is
// needed is allowed, and nothing else.
func networks(s *set) {
	for _, p := range s.pods {
		d, known := s.service(p.app())
		if !known {
			s.migrates(p)
			s.elsewhere(p)
			continue
		}
		for _, direction := range []string{"Ingress", "Egress"} {
			if !s.isolated(p.endpoint(), direction) {
				s.fault(p.owner, p.field+".metadata.labels", "no network policy selects these pods for "+direction+", so that everything is allowed",
					"add one that allows what "+d.Name+" declares, and run quad generate")
			}
		}
		s.needs(p, d)
		s.excess(p, d)
	}
	s.databases()
}

// blame names the policy of an endpoint in a direction, or owner where it has none of its
// own.
func (s *set) blame(e endpoint, owner manifest, direction string) manifest {
	for _, m := range s.of("NetworkPolicy") {
		if s.governs(m, e, direction) && len(m.Map("spec", "podSelector")) > 0 {
			return m
		}
	}
	return owner
}

// want reports a connection that is needed and forbidden.
func (s *set) want(p pod, to endpoint, port int, protocol, what string) {
	const remedy = "allow it, and run quad generate if the declaration changed"
	problem := fmt.Sprintf("it forbids %s %s (port %d)", p.owner.Name(), what, port)
	if !s.egress(p.endpoint(), to, port, protocol) {
		s.fault(s.blame(p.endpoint(), p.owner, "Egress"), "spec.egress", problem, remedy)
	}
	if !s.ingress(p.endpoint(), to, port, protocol) {
		s.fault(s.blame(to, p.owner, "Ingress"), "spec.ingress", problem, remedy)
	}
}

// needs reports what a service needs and may not reach.
func (s *set) needs(p pod, d declared.Service) {
	for _, other := range s.pods {
		callee, known := s.service(other.app())
		if known && d.CallsAny(callee) {
			s.want(p, other.endpoint(), sidecarInternal, "TCP", "to call "+callee.Name+", as it declares")
		}
	}
	s.want(p, names, 53, "UDP", "to ask for names")
	control := endpoint{namespace: daprNamespace, unknown: true}
	s.want(p, control, sentry, "TCP", "to get its sidecar's certificate of sentry")
	s.want(p, control, operator, "TCP", "to get its sidecar's components of Dapr's operator")
	if d.Workflows {
		s.want(p, control, placement, "TCP", "to run workflows, which Dapr places")
		s.want(p, control, scheduler, "TCP", "to run workflows, whose timers Dapr keeps")
		s.want(p, p.endpoint(), sidecarInternal, "TCP", "to run workflows, which its sidecars share")
	}
	if d.Database {
		for _, database := range s.databasePods() {
			s.want(p, database.endpoint(), postgres, "TCP", "its database")
		}
	}
	for _, broker := range s.brokers(p.namespace) {
		if len(d.Emits)+len(d.Hears) > 0 {
			s.want(p, broker.to, broker.port, "TCP", "the broker")
		}
	}
	for name, u := range s.urls(p) {
		if host := u.Hostname(); !strings.Contains(host, ".") && len(s.behind(p.namespace, u)) == 0 {
			s.fault(p.owner, p.field+" ["+name+"]", fmt.Sprintf("no pod is behind a Service %s with port %d", host, portOf(u)), "add it, or correct the address")
		}
		for _, to := range s.behind(p.namespace, u) {
			s.want(p, to.to, to.port, "TCP", "what "+name+" names")
		}
	}
	for _, partner := range d.Partners {
		if u := s.urls(p)[partner.URL]; u != nil && len(s.behind(p.namespace, u)) == 0 {
			s.want(p, endpoint{address: publicAddress}, portOf(u), "TCP", "to call the third party "+partner.Name)
		}
	}
}

// migrates reports a database that a migration needs and may not reach.
func (s *set) migrates(p pod) {
	for _, c := range p.containers() {
		env := s.env(p, c)
		_, plain := env["QUADRILLE_MIGRATE_DATABASE_URL"]
		_, file := env["QUADRILLE_MIGRATE_DATABASE_URL_FILE"]
		if !plain && !file {
			continue
		}
		s.want(p, names, 53, "UDP", "to ask for names")
		for _, database := range s.databasePods() {
			s.want(p, database.endpoint(), postgres, "TCP", "its database")
		}
	}
}

// elsewhere reports what settings of a pod name in other namespaces, and its policies forbid.
func (s *set) elsewhere(p pod) {
	for name, u := range s.urls(p) {
		if _, in := inCluster(u.Hostname(), p.namespace); strings.Contains(u.Hostname(), ".svc") && in != p.namespace {
			s.want(p, endpoint{namespace: in, unknown: true}, portOf(u), "TCP", "what "+name+" names")
		}
	}
}

// A destination is a port of an endpoint.
type destination struct {
	to   endpoint
	port int
}

// urls are the settings of a pod whose values are URLs.
func (s *set) urls(p pod) map[string]*url.URL {
	found := make(map[string]*url.URL)
	for _, c := range p.containers() {
		for name, value := range s.env(p, c) {
			// What the sidecars call each other is declared, and the issuer is a name.
			if u, err := url.Parse(value); err == nil && u.Host != "" && name != "QUADRILLE_ISSUER" {
				found[name] = u
			}
		}
	}
	return found
}

func portOf(u *url.URL) int {
	if n := number(u.Port()); n > 0 {
		return n
	}
	return map[string]int{"https": 443, "smtps": 465, "smtp": 25}[u.Scheme]
}

// behind are the pods of the Service that a URL names.
func (s *set) behind(namespace string, u *url.URL) (found []destination) {
	name, in := inCluster(u.Hostname(), namespace)
	for _, m := range s.of("Service") {
		if m.Name() != name || m.Namespace() != in || m.Group() != "" {
			continue
		}
		for _, port := range m.List("spec", "ports") {
			if number(port.At("port")) != portOf(u) {
				continue
			}
			target := port.At("targetPort")
			if target == nil {
				target = port.At("port")
			}
			for _, p := range s.selected(in, kube.Object{"matchLabels": m.At("spec", "selector")}) {
				found = append(found, destination{p.endpoint(), p.resolve(target)})
			}
		}
	}
	return found
}

// inCluster reads the name of a Service: name, name.namespace or name.namespace.svc...
func inCluster(host, namespace string) (name, in string) {
	parts := strings.Split(host, ".")
	if len(parts) == 1 {
		return parts[0], namespace
	}
	return parts[0], parts[1]
}

// brokers are where the components of a namespace find the broker in the cluster.
func (s *set) brokers(namespace string) (found []destination) {
	for _, address := range s.brokerAddresses(namespace) {
		for broker := range strings.SplitSeq(address, ",") {
			host, port, err := net.SplitHostPort(strings.TrimSpace(broker))
			if err == nil && strings.Contains(host, ".svc") {
				_, in := inCluster(host, namespace)
				found = append(found, destination{endpoint{namespace: in, unknown: true}, number(port)})
			}
		}
	}
	return found
}

// brokerAddresses are what the components of a namespace are told of the broker.
func (s *set) brokerAddresses(namespace string) (found []string) {
	for _, m := range s.of("Component") {
		if m.Namespace() != namespace || m.Text("spec", "type") != "pubsub.kafka" {
			continue
		}
		for _, item := range m.List("spec", "metadata") {
			if item.Text("name") == "brokers" {
				found = append(found, item.Text("value"))
			}
		}
	}
	return found
}

// excess reports what a service may reach, and what may reach it, that nothing says.
func (s *set) excess(p pod, d declared.Service) {
	const remedy = "take the rule out, or declare the call"
	from := p.endpoint()
	for _, other := range s.pods {
		callee, known := s.service(other.app())
		if !known || callee.Name == d.Name {
			continue
		}
		listening := s.listening(other, callee)
		ports := map[int]string{sidecarInternal: "its sidecar", sidecarHTTP: "its sidecar's HTTP API", sidecarGRPC: "its sidecar's gRPC API",
			listening["QUADRILLE_HTTP_ADDR"].port: "its public port", listening["QUADRILLE_GRPC_ADDR"].port: "the port for its sidecar",
			listening["QUADRILLE_ADMIN_ADDR"].port: "its admin port", listening["QUADRILLE_HEALTH_ADDR"].port: "its health port"}
		for port, what := range ports {
			switch {
			case port == sidecarInternal && d.CallsAny(callee) || callee.Name == "gateway" && port == listening["QUADRILLE_HTTP_ADDR"].port:
				continue
			case s.named(p, other, port) || !s.allowed(from, other.endpoint(), port, "TCP"):
				continue
			}
			s.fault(s.blame(from, p.owner, "Egress"), "spec.egress", fmt.Sprintf("%s reaches %s of %s (port %d), which nothing declares", d.Name, what, callee.Name, port), remedy)
		}
	}
	stranger := endpoint{namespace: "elsewhere", labels: kube.Object{}}
	neighbour := endpoint{namespace: p.namespace, labels: kube.Object{}}
	listening := s.listening(p, d)
	for setting, a := range listening {
		if d.Name == "gateway" && setting == "QUADRILLE_HTTP_ADDR" {
			continue
		}
		for who, e := range map[string]endpoint{"any pod of any namespace": stranger, "any pod of the namespace": neighbour} {
			if s.ingress(e, p.endpoint(), a.port, "TCP") {
				s.fault(s.blame(p.endpoint(), p.owner, "Ingress"), "spec.ingress", fmt.Sprintf("%s reaches %s of %s (port %d)", who, setting, d.Name, a.port), "name in from who may")
			}
		}
	}
	if s.egress(from, endpoint{address: metadataAddress}, 80, "TCP") {
		s.fault(s.blame(from, p.owner, "Egress"), "spec.egress", d.Name+" reaches the cloud provider's credentials at "+metadataAddress.String(), "except 169.254.0.0/16")
	}
	for _, port := range []int{80, 443, 25, 465, 587, postgres} {
		if !outside(d) && s.egress(from, endpoint{address: publicAddress}, port, "TCP") {
			s.fault(s.blame(from, p.owner, "Egress"), "spec.egress", fmt.Sprintf("%s reaches the internet (port %d), and declares no third party", d.Name, port), remedy)
			return
		}
	}
}

// named reports whether a setting of the pod names the port of another.
func (s *set) named(p, other pod, port int) bool {
	for _, u := range s.urls(p) {
		if slices.ContainsFunc(s.behind(p.namespace, u), func(d destination) bool { return d.port == port && d.to.pod.owner.String() == other.owner.String() }) {
			return true
		}
	}
	return false
}

// outside reports whether a service may have something to call outside of the cluster: a
// third party, or what one of its own settings names.
func outside(d declared.Service) bool {
	return len(d.Partners) > 0 || slices.ContainsFunc(d.Settings, func(set declared.Setting) bool {
		return strings.HasSuffix(set.Name, "_URL") || strings.Contains(set.Name, "PROVIDER")
	})
}

// databases refuses a database that others than services with a database reach.
func (s *set) databases() {
	for _, database := range s.databasePods() {
		for _, p := range s.pods {
			d, known := s.service(p.app())
			if known && d.Database && !slices.ContainsFunc(s.of("Database"), func(m manifest) bool { return m.Text("spec", "name") == d.Name }) {
				s.fault(database.owner, "metadata.name", "nothing makes the database "+d.Name, "run quad generate, and add databases.yaml to the kustomization")
			}
			if known && !d.Database && s.allowed(p.endpoint(), database.endpoint(), postgres, "TCP") {
				s.fault(s.blame(p.endpoint(), p.owner, "Egress"), "spec.egress", d.Name+" reaches the database "+database.owner.Name()+" and has none", "take the rule out")
			}
		}
		itself, operator := database.endpoint(), endpoint{namespace: "cnpg-system", unknown: true}
		for _, port := range []int{postgres, postgresStatus} {
			if !s.allowed(itself, itself, port, "TCP") || !s.ingress(operator, itself, port, "TCP") {
				s.fault(s.blame(itself, database.owner, "Ingress"), "spec", fmt.Sprintf("it forbids the database's servers or their operator port %d: none follows the first, or takes its place", port),
					"allow it among themselves, and from cnpg-system")
			}
		}
		if s.ingress(endpoint{namespace: "elsewhere", labels: kube.Object{}}, database.endpoint(), postgres, "TCP") {
			s.fault(database.owner, "metadata.labels", "any pod of any namespace reaches this database", "add a network policy for it")
		}
	}
}
