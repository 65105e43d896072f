package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"quadrille.internal/events"
	"quadrille.internal/platform/config"
	"quadrille.internal/platform/inbox"
	"quadrille.internal/platform/subscriber"
	"quadrille.internal/platform/telemetry"
)

// ports is the table of where services listen on one machine, and what begins their public
// routes.
func (c *catalog) ports() string {
	var b strings.Builder
	b.WriteString("| service | public | gRPC | admin | health | its sidecar | public paths |\n|---|---|---|---|---|---|---|\n")
	for _, s := range c.specs {
		p := s.Ports()
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d to %d | %s |\n",
			s.Name, p.Public, p.GRPC, p.Admin, p.Health, p.SidecarHTTP, p.SidecarMetrics, strings.Join(s.Paths, ", "))
	}
	return b.String()
}

// subscription is what services ask of their sidecars, and do with what these bring.
func subscription() string {
	return fmt.Sprintf(`batchSize        = %d
batchWait        = "%s"
deadLetterSuffix = %q
remembered       = "%.0fh"
stopAfter        = %d
`, subscriber.BulkSize, subscriber.BulkWait, subscriber.DeadLetter(""), inbox.Retention.Hours(), inbox.StopAfter)
}

// routes are those of the gateway.
func (c *catalog) routes() string {
	var b strings.Builder
	for _, s := range c.specs {
		for _, path := range s.Paths {
			fmt.Fprintf(&b, "{Prefix: %q, Service: %q},\n", path, s.Name)
		}
	}
	return b.String()
}

// settings is the table of what single services read.
func (c *catalog) settings() string {
	var b strings.Builder
	b.WriteString("| service | name | default | meaning |\n|---|---|---|---|\n")
	for _, s := range c.specs {
		for _, set := range c.described[s.Name].Settings {
			fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", s.Name, set.Name, defaultOf(set), set.About)
		}
	}
	return b.String()
}

// metrics is the table of what services tell Prometheus.
func (c *catalog) metrics() string {
	of, about := make(map[string][]string), make(map[string]telemetry.About)
	var everyone, withDatabase []string
	for _, s := range c.specs {
		everyone = append(everyone, s.Name)
		if s.HasDatabase() {
			withDatabase = append(withDatabase, s.Name)
		}
		for _, m := range c.described[s.Name].Metrics {
			of[m.Name], about[m.Name] = append(of[m.Name], s.Name), m
		}
	}
	var b strings.Builder
	b.WriteString("| metric | kind | of | by | tells |\n|---|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(of)) {
		who := strings.Join(of[name], ", ")
		switch {
		case slices.Equal(of[name], everyone):
			who = "all"
		case slices.Equal(of[name], withDatabase):
			who = "all but the gateway"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", name, about[name].Kind, who, about[name].Label, about[name].Help)
	}
	return b.String()
}

// defaultOf is how the documents write a default.
func defaultOf(s config.Setting) string {
	switch {
	case s.Required:
		return "required"
	case s.Default == "":
		return "none"
	}
	// A duration as people write it: 15m, not 15m0s.
	short := s.Default
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(short, zero) {
			short = short[:len(short)-2]
		}
	}
	return short
}

// eventTable is who emits and who hears each event.
func (c *catalog) eventTable(d *document) string {
	var b strings.Builder
	b.WriteString("| event | is about | emitted by | heard by | says |\n|---|---|---|---|---|\n")
	for _, topic := range c.types() {
		def, _ := events.Lookup(topic)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", topic, def.Kind, strings.Join(c.emitters(topic), ", "),
			strings.Join(c.hearers(topic), ", "), d.Channels[topic].Summary)
	}
	return b.String()
}
