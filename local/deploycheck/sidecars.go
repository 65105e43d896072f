package deploycheck

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"quadrille.internal/local/kube"
	"quadrille.internal/platform/service/declared"
)

type kubeObject = kube.Object

// sidecars holds the annotations by which Dapr makes a pod's sidecar against its service.
func sidecars(s *set) {
	for _, p := range s.pods {
		app := p.app()
		if p.annotations().Text("dapr.io/enabled") != "true" {
			continue
		}
		field := func(name string) string { return p.field + ".metadata.annotations[dapr.io/" + name + "]" }
		d, known := s.service(app)
		if !known {
			s.fault(p.owner, field("app-id"), "there is no service "+app, "name one of "+s.serviceNames())
			continue
		}
		if config := p.annotations().Text("dapr.io/config"); config == "" {
			s.fault(p.owner, field("config"), "without a Configuration every app may call every method", "name the one with the access control")
		} else if !s.has("Configuration", p.namespace, config) {
			s.fault(p.owner, field("config"), fmt.Sprintf("there is no Configuration %s in the namespace %s", config, p.namespace), "add it, or correct the name")
		}
		if protocol := p.annotations().Text("dapr.io/app-protocol"); protocol != "grpc" {
			s.fault(p.owner, field("app-protocol"), fmt.Sprintf("the services speak grpc, not %q", protocol), "write grpc")
		}
		listening := s.listening(p, d)
		if port := number(p.annotations().At("dapr.io/app-port")); port != listening["QUADRILLE_GRPC_ADDR"].port {
			s.fault(p.owner, field("app-port"), fmt.Sprintf("%s does not listen for its sidecar on %d, but on %d", d.Name, port, listening["QUADRILLE_GRPC_ADDR"].port),
				"write the port of QUADRILLE_GRPC_ADDR")
		}
	}
	running := make(map[string]bool)
	for _, p := range s.pods {
		running[p.app()] = true
	}
	for _, d := range s.services {
		if !running[d.Name] && len(running) > 1 {
			s.faults = append(s.faults, Fault{File: "deploy/services/" + d.Name, Problem: "nothing runs the service " + d.Name,
				Field: "dapr.io/app-id", Remedy: "run quad generate"})
		}
	}
}

// An address is where a service listens.
type address struct {
	port     int
	loopback bool
}

// listening is where the service in a pod listens, by setting.
func (s *set) listening(p pod, d declared.Service) map[string]address {
	found := map[string]address{
		"QUADRILLE_HTTP_ADDR": {d.Ports.Public, true}, "QUADRILLE_GRPC_ADDR": {d.Ports.GRPC, true},
		"QUADRILLE_ADMIN_ADDR": {d.Ports.Admin, true}, "QUADRILLE_HEALTH_ADDR": {d.Ports.Health, true},
	}
	for _, c := range p.containers() {
		env := s.env(p, c)
		for name := range found {
			if value := env[name]; value != "" {
				host, port, err := net.SplitHostPort(value)
				if err != nil {
					continue // the service says so itself when it starts
				}
				n, _ := strconv.Atoi(port)
				ip := net.ParseIP(host)
				found[name] = address{n, host == "localhost" || ip != nil && ip.IsLoopback()}
			}
		}
	}
	return found
}

// listeners refuses ports that the service does not listen on, and probes of paths that
// it does not have.
func listeners(s *set) {
	for _, p := range s.pods {
		d, known := s.service(p.app())
		if !known {
			continue
		}
		listening := s.listening(p, d)
		for _, c := range p.containers() {
			for i, port := range c.List("ports") {
				s.listens(p, fmt.Sprintf("%s.ports[%d].containerPort", c.field, i), number(port.At("containerPort")), listening)
			}
			for _, probe := range []string{"startupProbe", "livenessProbe", "readinessProbe"} {
				get := c.Map(probe, "httpGet")
				if get == nil {
					continue
				}
				field := c.field + "." + probe + ".httpGet"
				if port := p.resolve(get.At("port")); port != listening["QUADRILLE_HEALTH_ADDR"].port {
					s.fault(p.owner, field+".port", fmt.Sprintf("%s answers probes on the port %d of QUADRILLE_HEALTH_ADDR, not on %s", d.Name, listening["QUADRILLE_HEALTH_ADDR"].port, get.Text("port")), "name the health port")
				}
				want := "/healthz"
				if probe == "readinessProbe" {
					want = "/readyz"
				}
				if get.Text("path") != want {
					s.fault(p.owner, field+".path", fmt.Sprintf("a %s of %s asks %s", probe, d.Name, get.Text("path")), "ask "+want)
				}
			}
		}
	}
}

// listens checks that the service listens on a port that others reach.
func (s *set) listens(p pod, field string, port int, listening map[string]address) {
	for setting, a := range listening {
		if a.port != port {
			continue
		}
		if a.loopback {
			s.fault(p.owner, field, fmt.Sprintf("%s listens on port %d of its own loopback only", p.app(), port), fmt.Sprintf("set %s to :%d", setting, port))
		}
		return
	}
	var ports []string
	for _, setting := range slices.Sorted(maps.Keys(listening)) {
		ports = append(ports, strconv.Itoa(listening[setting].port))
	}
	s.fault(p.owner, field, fmt.Sprintf("%s does not listen on port %d", p.app(), port), "name one of "+strings.Join(ports, ", ")+", or set where it listens")
}

// ingressPaths refuses public paths that no service has, and those past the gateway.
func ingressPaths(s *set) {
	for _, m := range s.of("Ingress") {
		for r, rule := range m.List("spec", "rules") {
			host := rule.Text("host")
			if tls := m.List("spec", "tls"); host != "" && !slices.ContainsFunc(tls, func(o kubeObject) bool { return contains(o.Texts("hosts"), host) }) {
				s.fault(m, fmt.Sprintf("spec.rules[%d].host", r), "no certificate is for "+host, "add it to the hosts of spec.tls")
			}
			for i, path := range rule.List("http", "paths") {
				field := fmt.Sprintf("spec.rules[%d].http.paths[%d]", r, i)
				if !s.public(path.Text("path")) {
					s.fault(m, field+".path", "no service has public routes under "+path.Text("path"), "name a prefix of docs/openapi.yaml")
				}
				d, known := s.service(path.Text("backend", "service", "name"))
				if known && d.Name != "gateway" {
					s.fault(m, field+".backend", d.Name+" would be public without the gateway, which verifies callers and limits them", "lead it to gateway")
				}
			}
		}
	}
}

// public reports whether routes are under a path, or it under theirs.
func (s *set) public(path string) bool {
	path = strings.TrimSuffix(path, "/")
	return path == "" || slices.ContainsFunc(s.services, func(d declared.Service) bool {
		return slices.ContainsFunc(d.Paths, func(own string) bool {
			return own == path || strings.HasPrefix(own, path+"/") || strings.HasPrefix(path, own+"/")
		})
	})
}
