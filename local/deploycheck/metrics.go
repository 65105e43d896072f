package deploycheck

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"quadrille.internal/platform/service/declared"
)

var (
	// foreign are metrics that others than our services tell: nobody here knows their names.
	foreign = regexp.MustCompile(`^(?:up|(?:go|process|promhttp|scrape|dapr|kube|container|node|kafka|cnpg)_.*)$`)

	// A template's arguments are filled in later; of what they are in, only they are unknown.
	argument = regexp.MustCompile(`\{\{[^}]*\}\}`)
	// over is a range or an offset, and grouped the labels that an operator keeps or drops.
	over    = regexp.MustCompile(`\[[^\]]*\]|\boffset\s+\S+`)
	grouped = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
	// asked is a text or a number, which is none of ours, or a metric with its labels, or a function.
	asked   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|'[^']*'|\b[0-9][0-9a-zA-Z_.]*|([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{((?:[^}"]|"(?:[^"\\]|\\.)*")*)\}|(\())?`)
	matcher = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"`)
	keyword = regexp.MustCompile(`(?i)^(?:and|or|unless|bool|inf|nan)$`)
	notName = regexp.MustCompile(`[^a-zA-Z0-9_]`)
)

// metrics refuses queries for what no service tells. They would find nothing: a roll-out
// would wait for ever, an autoscaler would not scale, and an alert would be silent.
func metrics(s *set) {
	for _, m := range s.of("AnalysisTemplate", "ClusterAnalysisTemplate") {
		for i, metric := range m.List("spec", "metrics") {
			s.query(m, fmt.Sprintf("spec.metrics[%d].provider.prometheus.query", i), metric.Text("provider", "prometheus", "query"))
		}
	}
	for _, m := range s.of("ScaledObject") {
		for i, trigger := range m.List("spec", "triggers") {
			if trigger.Text("type") == "prometheus" {
				s.query(m, fmt.Sprintf("spec.triggers[%d].metadata.query", i), trigger.Text("metadata", "query"))
			}
		}
	}
	for _, m := range s.of("HorizontalPodAutoscaler") {
		for i, metric := range m.List("spec", "metrics") {
			for _, kind := range []string{"pods", "object", "external"} {
				of := metric.Map(kind, "metric")
				field := fmt.Sprintf("spec.metrics[%d].%s.metric", i, kind)
				if of.Text("name") == "" {
					continue
				}
				labels := make(map[string]string)
				for name := range of.Map("selector", "matchLabels") {
					labels[name] = of.Text("selector", "matchLabels", name)
				}
				s.askedFor(m, field, of.Text("name"), labels)
			}
		}
	}
	for _, m := range s.of("PrometheusRule") {
		for g, group := range m.List("spec", "groups") {
			for r, rule := range group.List("rules") {
				s.query(m, fmt.Sprintf("spec.groups[%d].rules[%d].expr", g, r), rule.Text("expr"))
			}
		}
	}
}

// query checks what a query of Prometheus asks for.
func (s *set) query(m manifest, field, text string) {
	text = over.ReplaceAllString(argument.ReplaceAllString(text, "?"), "")
	var groups []string
	text = grouped.ReplaceAllStringFunc(text, func(found string) string {
		groups = append(groups, strings.FieldsFunc(grouped.FindStringSubmatch(found)[1], func(r rune) bool { return r == ',' || r == ' ' })...)
		return ""
	})
	var have []string // labels; nil where they are not all known
	allKnown := true
	for _, found := range asked.FindAllStringSubmatch(text, -1) {
		name, isFunction := found[1], found[3] != ""
		if name == "" || isFunction || keyword.MatchString(name) {
			continue
		}
		equal, labels := make(map[string]string), matcher.FindAllStringSubmatch(found[2], -1)
		for _, l := range labels {
			if equal[l[1]] = l[3]; l[2] != "=" {
				equal[l[1]] = ""
			}
		}
		of, known := s.askedFor(m, field, name, equal)
		have, allKnown = append(have, of...), allKnown && known
	}
	for _, label := range groups {
		if allKnown && !contains(have, label) {
			s.fault(m, field, fmt.Sprintf("it groups by %s, which is no label of what it asks for", label), "name one of "+strings.Join(have, ", "))
		}
	}
}

// askedFor checks a metric and the labels it is asked for with; a value is "" where any will do.
// It returns the labels that the metric has, where they are known.
func (s *set) askedFor(m manifest, field, name string, want map[string]string) (labels []string, known bool) {
	if foreign.MatchString(name) || s.records(name) {
		return nil, false
	}
	metric, tellers := s.told(name)
	if len(tellers) == 0 {
		s.fault(m, field, "no service tells "+name, "name a metric of docs/operating.md (Metrics)")
		return nil, false
	}
	labels = append(s.targetLabels(), "service")
	if metric.Label != "" {
		labels = append(labels, metric.Label)
	}
	if strings.HasSuffix(name, "_bucket") {
		labels = append(labels, "le")
	}
	for label, value := range want {
		unknown := value == "" || strings.Contains(value, "?")
		switch {
		case !contains(labels, label):
			s.fault(m, field, fmt.Sprintf("%s has no label %s", name, label), "name one of "+strings.Join(labels, ", "))
		case unknown:
		case label == "service" && !contains(tellers, value):
			s.fault(m, field, fmt.Sprintf("%s does not tell %s", value, name), "name one of "+strings.Join(tellers, ", "))
		case label == "topic" && !contains(s.topics(), value):
			s.fault(m, field, "there is no topic "+value, "name a topic of docs/events.md")
		}
	}
	return labels, true
}

// told is a metric by the name of one of its series, and the services that tell it.
func (s *set) told(series string) (metric declared.Metric, tellers []string) {
	for _, d := range s.services {
		for _, of := range d.Metrics {
			names := []string{of.Name}
			if of.Kind == "histogram" {
				names = []string{of.Name + "_bucket", of.Name + "_count", of.Name + "_sum"}
			}
			if contains(names, series) {
				metric, tellers = of, append(tellers, d.Name)
			}
		}
	}
	return metric, tellers
}

// records reports whether a rule records a metric.
func (s *set) records(name string) bool {
	for _, m := range s.of("PrometheusRule") {
		for _, group := range m.List("spec", "groups") {
			for _, rule := range group.List("rules") {
				if rule.Text("record") == name {
					return true
				}
			}
		}
	}
	return false
}

// targetLabels are those that Prometheus adds to what it scrapes of the pods.
func (s *set) targetLabels() []string {
	labels := []string{"namespace", "pod", "container", "endpoint", "job", "instance"}
	for _, m := range s.of("PodMonitor", "ServiceMonitor") {
		for _, label := range slices.Concat(m.Texts("spec", "podTargetLabels"), m.Texts("spec", "targetLabels")) {
			labels = append(labels, notName.ReplaceAllString(label, "_"))
		}
	}
	return labels
}
