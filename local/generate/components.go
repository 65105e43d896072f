package main

import (
	"fmt"
	"slices"
	"strings"

	"quadrille.internal/platform/seal"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/subscriber"
)

// topics are the scopes of the broker: each service publishes what it emits, and
// subscribes to what it hears; what the release before emits may still be published. Its
// sidecar publishes dead letters in its name.
func (c *catalog) topics() string {
	var b strings.Builder
	var all, publish, subscribe []string
	for _, s := range c.specs {
		dead := deadLetters(s)
		all = append(all, strings.Join(slices.Concat(s.Emits, dead), ","))
		publish = append(publish, s.Name+"="+strings.Join(slices.Concat(s.Emits, s.EmittedBefore, dead), ","))
		subscribe = append(subscribe, s.Name+"="+strings.Join(slices.Concat(s.Hears, dead), ","))
	}
	all = slices.DeleteFunc(all, func(list string) bool { return list == "" })
	list := func(name, anchor, separator string, lines []string) {
		fmt.Fprintf(&b, "- name: %s\n  value: %s>-\n    %s\n", name, anchor, strings.Join(lines, separator+"\n    "))
	}
	list("allowedTopics", "&topics ", ",", all)
	b.WriteString("# An app that has no scopes below may neither publish nor hear a protected topic;\n" +
		"# without this it would be free to do both.\n" +
		"- name: protectedTopics\n  value: *topics\n")
	list("publishingScopes", "", ";", publish)
	list("subscriptionScopes", "", ";", subscribe)
	return b.String()
}

// deadLetters is the topic of what the service's sidecar gives up on.
func deadLetters(s service.Spec) []string {
	if len(s.Hears) == 0 {
		return nil
	}
	return []string{subscriber.DeadLetter(s.Name)}
}

// scopes lists the services whose sidecars load a component.
func (c *catalog) scopes(so func(service.Spec) bool) string {
	return "scopes:\n" + list(c.names(so))
}

func list(names []string) string {
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "  - %s\n", name)
	}
	return b.String()
}

// policies are who may call what.
func (c *catalog) policies() string {
	var b strings.Builder
	for _, s := range c.specs {
		if len(s.Calls) == 0 {
			continue
		}
		fmt.Fprintf(&b, `  - appId: %s
    defaultAction: deny
    trustDomain: public
    # On Kubernetes the namespace that it runs in.
    namespace: default
    operations:
`, s.Name)
		for _, method := range s.Calls {
			fmt.Fprintf(&b, "      - name: %s\n        action: allow\n", method)
		}
	}
	if b.Len() == 0 {
		return "policies: []\n"
	}
	return "policies:\n" + b.String()
}

// identity is the service that says who callers are, or the zero value.
func (c *catalog) identity() service.Spec {
	for _, s := range c.specs {
		if s.Name == "identity" {
			return s
		}
	}
	return service.Spec{}
}

// apps are the services and their sidecars as local/dapr.yaml has them.
func (c *catalog) apps() string {
	var b strings.Builder
	for i, s := range c.specs {
		p := s.Ports()
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, `- appID: %[1]s
  appDirPath: ../.local
  appPort: %[3]d
  daprHTTPPort: %[6]d
  daprGRPCPort: %[7]d
  daprInternalGRPCPort: %[8]d
  metricsPort: %[9]d
  command: [bin/%[1]s]
  env:
    QUADRILLE_HTTP_ADDR: 127.0.0.1:%[2]d
    QUADRILLE_GRPC_ADDR: 127.0.0.1:%[3]d
    QUADRILLE_ADMIN_ADDR: 127.0.0.1:%[4]d
    QUADRILLE_HEALTH_ADDR: 127.0.0.1:%[5]d
    QUADRILLE_ADMIN_TOKEN_FILE: secrets/%[1]s.admin
`, s.Name, p.Public, p.GRPC, p.Admin, p.Health, p.SidecarHTTP, p.SidecarGRPC, p.SidecarInternal, p.SidecarMetrics)
		if s.HasDatabase() {
			fmt.Fprintf(&b, "    QUADRILLE_DATABASE_URL_FILE: secrets/%s.url\n", s.Name)
		}
		if !c.described[s.Name].Front {
			b.WriteString("    QUADRILLE_PUBLIC_PORT: closed\n")
		}
		if who := c.identity(); s.Name == who.Name {
			// Customers come through the gateway, which says where from.
			fmt.Fprintf(&b, "    QUADRILLE_ISSUER: http://127.0.0.1:%d\n    QUADRILLE_FORWARDED_FOR: 'on'\n", p.Public)
		} else if who.Name != "" {
			fmt.Fprintf(&b, "    QUADRILLE_IDENTITY_URL: http://127.0.0.1:%d\n", who.Port)
		}
		if s.Sealed {
			fmt.Fprintf(&b, "    %s_FILE: secrets/%s.master\n", seal.Setting, s.Name)
		}
		for _, partner := range s.Partners {
			fmt.Fprintf(&b, "    %s: %s\n    %s_FILE: secrets/%s.key\n",
				partner.Setting("URL"), partner.URL(), partner.Setting("KEY"), partner.Name)
		}
	}
	return b.String()
}
