package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"quadrille.internal/platform/seal"
	"quadrille.internal/platform/service"
)

// In a pod each service has the ports that it has where it is alone.
var inPod = service.Alone

// A unit is what the templates know of a service.
type unit struct {
	service.Spec
	size

	Ports            service.Ports
	Database, Front  bool
	Broker           bool // its sidecar loads the broker
	HTTP, Port       bool // it has public routes, and a port for them that others reach
	Identity         string
	Callers, Callees []string // apps whose sidecars call its own, and whose its own calls
	Outside          []int    // ports of systems outside of the cluster
	OutsideWhy       string
	Settings         []value
	Secrets          []secret
	Mounts           []mount
	Workload         string // the file of it
	TargetAPI        string
	TargetKind       string
	Partitions       int
	Environment      string
}

// A value is a setting as the ConfigMap has it.
type value struct{ Name, Value string }

// A secret is one that the service reads from a file, or its sidecar from the variable that
// Dapr makes of it.
type secret struct{ Name, Key, Property, About string }

// A mount is a key of a secret as a file below /secrets.
type mount struct{ Secret, Key, File string }

func (c *catalog) unit(s service.Spec) unit {
	u := unit{
		Spec: s, size: sizeOf(s.Name), Ports: inPod, Database: s.HasDatabase(), Broker: usesBroker(s), Front: c.described[s.Name].Front,
		HTTP: len(s.Paths) > 0, Workload: "deployment", TargetAPI: "apps/v1", TargetKind: "Deployment", Partitions: partitions,
	}
	if u.Canary {
		u.Workload, u.TargetAPI, u.TargetKind = "rollout", "argoproj.io/v1alpha1", "Rollout"
	}
	who := c.identity().Name
	u.Port = u.Front || s.Name == who
	if s.Name != who {
		u.Identity = who
	}
	u.Callers, u.Callees = c.callers(s), c.callees(s)
	u.outside(c)
	u.secrets()
	u.Settings = c.podSettings(u)
	return u
}

// callers are the apps whose sidecars reach that of s.
func (c *catalog) callers(s service.Spec) []string {
	return c.names(func(other service.Spec) bool {
		return slices.Contains(c.callees(other), s.Name)
	})
}

// callees are the apps whose sidecars that of s reaches. Workflows call their own app's, in
// other replicas.
func (c *catalog) callees(s service.Spec) []string {
	return c.names(func(other service.Spec) bool {
		if other.Name == s.Name {
			return s.Workflows != nil
		}
		return slices.ContainsFunc(s.Calls, func(method string) bool {
			return slices.Contains(c.described[other.Name].Serves, method)
		})
	})
}

// outside says which systems outside of the cluster the service calls.
func (u *unit) outside(c *catalog) {
	var who []string
	reach := func(what string, ports ...int) {
		who = append(who, what)
		for _, port := range ports {
			if !slices.Contains(u.Outside, port) {
				u.Outside = append(u.Outside, port)
			}
		}
	}
	for _, p := range u.Partners {
		if p.Scheme == "smtp" {
			reach(p.What, 465, 587)
		} else {
			reach(p.What, 443)
		}
	}
	for _, set := range c.described[u.Name].Settings {
		if set.Name == "QUADRILLE_OPENID_PROVIDERS" {
			reach("OpenID providers", 443)
		}
	}
	if len(who) > 0 {
		u.OutsideWhy = strings.ToUpper(who[0][:1]) + strings.Join(who, ", ")[1:]
	}
}

// secrets lists what the service needs to be given. Its settings name the files.
func (u *unit) secrets() {
	add := func(setting, name, key, property, about string) {
		u.Secrets = append(u.Secrets, secret{u.Name + "-" + name, key, property, about})
		u.mount(setting, u.Name+"-"+name, key, property)
	}
	add("QUADRILLE_ADMIN_TOKEN", "admin", "token", "admin-token", "What operators send to the admin port.")
	add("APP_API_TOKEN", "app-token", "token", "app-token", "What the sidecar proves itself with to the service.")
	add("DAPR_API_TOKEN", "api-token", "token", "api-token", "What the service proves itself with to the sidecar.")
	if u.Sealed {
		add(seal.Setting, "master", "key", "master-key", "What the keys in its database are sealed with: 32 random bytes in hexadecimal.")
	}
	for _, p := range u.Partners {
		add(p.Setting("KEY"), p.Name, "key", p.Name+"-key", "The key to "+p.What+".")
	}
	if u.Database {
		// Those of the database are with it, in deploy/platform/postgres.
		u.mount("QUADRILLE_DATABASE_URL", u.Name+"-database", "url", "database-url")
		u.Settings = append(u.Settings, value{"QUADRILLE_DATABASE_CONNS", strconv.Itoa(connsOfService)})
		u.Mounts = append(u.Mounts, mount{authority, "ca.crt", "postgres-ca.crt"})
	}
}

// mount has the service read a setting from a file.
func (u *unit) mount(setting, from, key, file string) {
	u.Mounts = append(u.Mounts, mount{from, key, file})
	u.Settings = append(u.Settings, value{setting + "_FILE", "/secrets/" + file})
}

// podSettings are the ConfigMap of the service. Those that differ between environments have
// the value of an example, which deploy/environments replaces.
func (c *catalog) podSettings(u unit) []value {
	var list []value
	set := func(name, v string) { list = append(list, value{name, v}) }
	set("QUADRILLE_HEALTH_ADDR", fmt.Sprint(":", u.Ports.Health))
	// On loopback: for the sidecar, and for who may use kubectl port-forward.
	set("QUADRILLE_GRPC_ADDR", fmt.Sprint("127.0.0.1:", u.Ports.GRPC))
	set("QUADRILLE_ADMIN_ADDR", fmt.Sprint("127.0.0.1:", u.Ports.Admin))
	if u.Port {
		set("QUADRILLE_HTTP_ADDR", fmt.Sprint(":", u.Ports.Public))
	}
	if !u.Front {
		set("QUADRILLE_PUBLIC_PORT", "closed") // identity's keys stay to be had
	}
	if u.Identity != "" {
		set("QUADRILLE_IDENTITY_URL", fmt.Sprintf("http://%s:%d", u.Identity, u.Ports.Public))
		set("QUADRILLE_ISSUER", examples["QUADRILLE_ISSUER"])
	} else {
		set("QUADRILLE_FORWARDED_FOR", "on") // the gateway says where from
	}
	set("QUADRILLE_DRAIN", "5s")
	set("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel-collector:4318")
	set("QUADRILLE_TRACE_PERCENT", "10")
	for _, read := range c.described[u.Name].Settings {
		if v, ok := examples[read.Name]; ok {
			set(read.Name, v)
		}
		if read.Name == "QUADRILLE_REPLICAS" {
			set(read.Name, strconv.Itoa(u.MaxReplicas)) // fewer would allow more than the rate once there are more
		}
	}
	return append(list, u.Settings...)
}

// examples are settings that each installation has its own of.
var examples = map[string]string{
	"QUADRILLE_ISSUER":          "https://shop.example.com",
	"QUADRILLE_SHOP_URL":        "https://shop.example.com",
	"QUADRILLE_ALLOWED_ORIGINS": "https://shop.example.com",
	"QUADRILLE_TRUSTED_PROXIES": "10.0.0.0/8",
	"QUADRILLE_PSP_URL":         "https://psp.example.com",
	"QUADRILLE_ERP_URL":         "https://erp.example.com",
	"QUADRILLE_MAIL_URL":        "smtp://quadrille@mail.example.com:587",
	"QUADRILLE_MAIL_FROM":       "no-reply@shop.example.com",
}

// usesBroker says whose sidecar loads the broker.
func usesBroker(s service.Spec) bool { return len(s.Emits)+len(s.Hears) > 0 }
