package deploycheck

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"quadrille.internal/local/kube"
)

// serviceStop is how long a service takes to stop at most, after its drain (platform/host).
const serviceStop = 10 * time.Second

// lifetimes refuses pods that Kubernetes would not replace, would kill before they are done, or
// would let take what they like.
func lifetimes(s *set) {
	for _, p := range s.pods {
		d, known := s.service(p.app())
		if !known {
			continue
		}
		for _, c := range p.containers() {
			if c.Text("name") != d.Name {
				continue
			}
			for _, probe := range []string{"livenessProbe", "readinessProbe"} {
				if c.Map(probe) == nil {
					s.fault(p.owner, c.field+"."+probe, "nobody asks "+d.Name+" how it is", "ask its health port")
				}
			}
			for _, limit := range []string{"requests.cpu", "requests.memory", "limits.memory"} {
				if c.At(append([]string{"resources"}, strings.Split(limit, ".")...)...) == nil {
					s.fault(p.owner, c.field+".resources."+limit, "it says nothing: pods are put where there is no room, or take the memory of others", "set it")
				}
			}
			if image := c.Text("image"); !strings.Contains(image, "/") || !strings.ContainsAny(path.Base(image), ":@") {
				s.fault(p.owner, c.field+".image", "the image "+image+" is of no registry, or of no release", "name it in deploy/environments")
			}
			s.stops(p, c)
		}
	}
	s.autoscalers()
	for _, m := range s.of("PodDisruptionBudget") {
		if most := m.Text("spec", "maxUnavailable"); most == "0" || most == "0%" || m.Text("spec", "minAvailable") == "100%" {
			s.fault(m, "spec", "it lets no pod go, so that no node can be drained", "let one be unavailable")
		}
	}
}

// stops compares the time that Kubernetes gives a pod with what its end takes.
func (s *set) stops(p pod, c container) {
	asleep := number(c.At("lifecycle", "preStop", "sleep", "seconds"))
	if asleep == 0 {
		s.fault(p.owner, c.field+".lifecycle.preStop", "calls are still led to the pod when it stops", "sleep some seconds")
	}
	if p.annotations().Text("dapr.io/enable-native-sidecar") != "true" && p.annotations().At("dapr.io/block-shutdown-duration") == nil {
		s.fault(p.owner, p.field+".metadata.annotations[dapr.io/enable-native-sidecar]", "the sidecar ends together with its service, which cannot publish any more",
			`write "true"`)
	}
	sidecar, grace := 5, 30 // what Dapr and Kubernetes take where nothing is said
	if said := p.annotations().At("dapr.io/graceful-shutdown-seconds"); said != nil {
		sidecar = number(said)
	}
	if said := p.template.At("spec", "terminationGracePeriodSeconds"); said != nil {
		grace = number(said)
	}
	drain, err := time.ParseDuration(s.env(p, c)["QUADRILLE_DRAIN"])
	if err != nil {
		drain = 0 // the service says so itself when it starts
	}
	if need := time.Duration(asleep+sidecar)*time.Second + drain + serviceStop; need > time.Duration(grace)*time.Second {
		s.fault(p.owner, p.field+".spec.terminationGracePeriodSeconds", fmt.Sprintf("the pod is killed after %d s, and its end takes up to %s: preStop, QUADRILLE_DRAIN, the service and its sidecar", grace, need),
			"give it more")
	}
}

// autoscalers refuses two for one workload: each undoes what the other does.
func (s *set) autoscalers() {
	seen := make(map[string]manifest)
	for _, m := range s.of("HorizontalPodAutoscaler", "ScaledObject") {
		target := m.Namespace() + "/" + m.Text("spec", "scaleTargetRef", "name")
		if other, twice := seen[target]; twice {
			s.fault(m, "spec.scaleTargetRef", other.String()+" scales it too", "leave one out")
		}
		seen[target] = m
	}
}

// tokens refuses a pod whose service and sidecar do not have the same token: each refuses the other.
func tokens(s *set) {
	for _, p := range s.pods {
		d, known := s.service(p.app())
		if !known {
			continue
		}
		for annotation, setting := range map[string]string{"dapr.io/app-token-secret": "APP_API_TOKEN_FILE", "dapr.io/api-token-secret": "DAPR_API_TOKEN_FILE"} { //nolint:gosec // names of settings, no credentials
			own := p.annotations().Text(annotation)
			for _, c := range p.containers() {
				file := s.env(p, c)[setting]
				if c.Text("name") != d.Name || file == "" {
					continue
				}
				if read := secretOf(p, c, file); read != own {
					s.fault(p.owner, p.field+".metadata.annotations["+annotation+"]", fmt.Sprintf("the sidecar has the token of %q, and the service that of %q", own, read),
						"name the same secret")
				}
			}
		}
	}
}

// secretOf is the secret whose key token a file of a container is, or "".
func secretOf(p pod, c container, file string) (name string) {
	for _, m := range c.List("volumeMounts") {
		inside, below := strings.CutPrefix(file, strings.TrimSuffix(m.Text("mountPath"), "/")+"/")
		i := slices.IndexFunc(p.template.List("spec", "volumes"), func(v kube.Object) bool { return v.Text("name") == m.Text("name") })
		if !below || i < 0 {
			continue
		}
		for _, source := range p.template.List("spec", "volumes")[i].List("projected", "sources") {
			for _, item := range source.List("secret", "items") {
				if item.Text("key") == "token" && item.Text("path") == inside {
					name = source.Text("secret", "name")
				}
			}
		}
	}
	return name
}
