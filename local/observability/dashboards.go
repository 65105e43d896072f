package observability

import (
	"encoding/json"
	"path"
	"strings"
)

// Dashboards are the files of Grafana, by their paths in the repository.
func Dashboards() (map[string][]byte, error) {
	files := make(map[string][]byte, len(boards))
	for _, b := range boards {
		text, err := json.MarshalIndent(b.grafana(), "", "  ")
		if err != nil {
			return nil, err
		}
		files[path.Join(Folder, "dashboards", b.uid+".json")] = append(text, '\n')
	}
	return files, nil
}

// The grid of Grafana is 24 wide.
const (
	panelWidth, panelHeight = 12, 8
	perRow                  = 2
)

type object = map[string]any

// datasource is whatever Prometheus the reader of a dashboard chooses.
var datasource = object{"type": "prometheus", "uid": "${datasource}"}

func (b board) grafana() object {
	panels := make([]object, len(b.panels))
	for i, p := range b.panels {
		panels[i] = p.grafana(i)
	}
	return object{
		"uid": b.uid, "title": b.title, "tags": []string{"quadrille"}, "schemaVersion": 39, "editable": false, "refresh": "30s",
		"time": object{"from": "now-1h", "to": "now"}, "panels": panels,
		"templating": object{"list": []object{{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}}},
	}
}

func (p panel) grafana(i int) object {
	targets := make([]object, len(p.queries))
	for n, q := range p.queries {
		targets[n] = object{"refId": string(rune('A' + n)), "expr": q.expr, "legendFormat": q.legend, "exemplar": strings.Contains(q.expr, "_seconds_bucket")}
	}
	return object{
		"id": i + 1, "type": "timeseries", "title": p.title, "datasource": datasource, "targets": targets,
		"gridPos":     object{"x": i % perRow * panelWidth, "y": i / perRow * panelHeight, "w": panelWidth, "h": panelHeight},
		"fieldConfig": object{"defaults": object{"unit": p.unit, "min": 0}, "overrides": []any{}},
	}
}

// Query is one of a dashboard or a rule.
type Query struct {
	// Where names panel or rule.
	Where string
	Expr  string
}

// Queries are those of all dashboards and, of alerts, what they measure.
func Queries(root string) ([]Query, error) {
	rules, err := ReadRules(root)
	if err != nil {
		return nil, err
	}
	var all []Query
	for _, r := range rules.All() {
		measured, err := r.Measured()
		if err != nil {
			return nil, err
		}
		for _, expr := range measured {
			all = append(all, Query{"rule " + r.Alert + r.Record, expr})
		}
	}
	for _, b := range boards {
		for _, p := range b.panels {
			for _, q := range p.queries {
				all = append(all, Query{b.title + ", " + p.title, q.expr})
			}
		}
	}
	return all, nil
}
