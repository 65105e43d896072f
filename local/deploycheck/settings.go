package deploycheck

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"quadrille.internal/local/kube"
	"quadrille.internal/platform/service/declared"
)

// commonSettings are those that every service or its migration reads.
var commonSettings = []string{
	"QUADRILLE_HTTP_ADDR", "QUADRILLE_GRPC_ADDR", "QUADRILLE_ADMIN_ADDR", "QUADRILLE_HEALTH_ADDR",
	"QUADRILLE_DATABASE_URL", "QUADRILLE_DATABASE_PRIVILEGES", "QUADRILLE_DATABASE_CONNS", "QUADRILLE_DATABASE_POOLER",
	"QUADRILLE_DATABASE_ROLE", "QUADRILLE_MIGRATE_DATABASE_URL", "QUADRILLE_MIGRATE_LOCK_TIMEOUT", "QUADRILLE_MIGRATE_PATIENCE",
	"QUADRILLE_ADMIN_TOKEN", "QUADRILLE_INSECURE", "QUADRILLE_IDENTITY_URL", "QUADRILLE_ISSUER", "QUADRILLE_PUBLIC_PORT",
	"QUADRILLE_BEHIND_EDGE", "QUADRILLE_SHARE_PORTS", "QUADRILLE_LINGER", "QUADRILLE_DRAIN", "QUADRILLE_INSTALLED",
	"QUADRILLE_LOG_LEVEL", "QUADRILLE_FLIGHT", "QUADRILLE_TRACE_PERCENT",
}

// settings refuses what no service reads, as a misspelt name would have no effect, what a
// service wants and does not get, and secrets in files that are not mounted.
func settings(s *set) {
	for _, p := range s.pods {
		d, known := s.service(p.app())
		read := slices.Clone(d.Settings)
		if !known {
			for _, service := range s.services {
				read = append(read, service.Settings...)
			}
		}
		for _, c := range p.containers() {
			env := s.env(p, c)
			for name, value := range env {
				if strings.HasPrefix(name, "QUADRILLE_") && !reads(read, name) {
					s.fault(p.owner, c.field+".env["+name+"]", "no service here reads "+name, "correct the name: docs/operating.md has them all")
				}
				if strings.HasSuffix(name, "_FILE") && strings.HasPrefix(value, "/") && !mounts(p, c, value) {
					s.fault(p.owner, c.field+".env["+name+"]", value+" is in no volume of the container", "mount the secret that has it, with that path")
				}
			}
			if !known || c.Text("name") != d.Name {
				continue
			}
			for _, name := range required(d) {
				if !given(env, name) {
					s.fault(p.owner, c.field+".env", d.Name+" does not start without "+name, "set it, or "+name+"_FILE")
				}
			}
			s.sharedOut(p, c, d, env)
		}
	}
}

// sharedOut refuses a service that shares a limit out among fewer replicas than there may be: together
// they would allow more than the limit. Where they count in Redis it matters while that is away.
func (s *set) sharedOut(p pod, c container, d declared.Service, env map[string]string) {
	const name = "QUADRILLE_REPLICAS"
	if !reads(d.Settings, name) {
		return
	}
	said, most := max(1, number(env[name])), s.mostReplicas(p)
	if said < most {
		s.fault(p.owner, c.field+".env["+name+"]",
			fmt.Sprintf("each of up to %d replicas allows a part of the rates as if there were %d", most, said),
			fmt.Sprintf("set it to %d, the most replicas", most))
	}
}

// required are the settings without which a service does not start.
func required(d declared.Service) []string {
	list := []string{"QUADRILLE_ADMIN_TOKEN", "APP_API_TOKEN", "DAPR_API_TOKEN"}
	if d.Database {
		list = append(list, "QUADRILLE_DATABASE_URL")
	}
	for _, set := range d.Settings {
		if set.Required {
			list = append(list, set.Name)
		}
	}
	return list
}

func reads(own []declared.Setting, name string) bool {
	short := strings.TrimSuffix(name, "_FILE")
	return contains(commonSettings, name) || contains(commonSettings, short) ||
		slices.ContainsFunc(own, func(set declared.Setting) bool {
			return set.Name == name || set.Secret && set.Name == short
		})
}

// mounts reports whether a file is in a volume of the container, as far as the manifests
// say what is in it.
func mounts(p pod, c container, file string) bool {
	return slices.ContainsFunc(c.List("volumeMounts"), func(m kube.Object) bool {
		inside, below := strings.CutPrefix(file, strings.TrimSuffix(m.Text("mountPath"), "/")+"/")
		if !below {
			return false
		}
		for _, v := range p.template.List("spec", "volumes") {
			if v.Text("name") == m.Text("name") {
				return holds(v, inside)
			}
		}
		return false
	})
}

func holds(v kube.Object, file string) bool {
	sources := v.List("projected", "sources")
	if sources == nil {
		sources = []kube.Object{v}
	}
	return slices.ContainsFunc(sources, func(source kube.Object) bool {
		for _, kind := range []string{"secret", "configMap"} {
			ref := source.Map(kind)
			if ref == nil {
				continue
			}
			items := ref.List("items")
			if len(items) == 0 {
				return true // every key, and these may be anything
			}
			if slices.ContainsFunc(items, func(item kube.Object) bool { return path.Clean(item.Text("path")) == file }) {
				return true
			}
		}
		return false
	})
}
