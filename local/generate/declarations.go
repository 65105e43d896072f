package main

import (
	"encoding/json"
	"io"

	"quadrille.internal/platform/service/declared"
)

// writeDeclarations writes what the services declare, for programs that do not depend on
// them.
func (c *catalog) writeDeclarations(w io.Writer) error {
	list := make([]declared.Service, len(c.specs))
	for i, s := range c.specs {
		p := s.Ports()
		list[i] = declared.Service{
			Name: s.Name, Ports: declared.Ports{Public: p.Public, GRPC: p.GRPC, Admin: p.Admin, Health: p.Health},
			Emits: s.Emits, EmittedBefore: s.EmittedBefore, Hears: s.Hears, Calls: s.Calls, Serves: c.described[s.Name].Serves,
			Paths: s.Paths, Database: s.HasDatabase(), Workflows: s.Workflows != nil,
		}
		for _, set := range c.described[s.Name].Settings {
			list[i].Settings = append(list[i].Settings, declared.Setting{Name: set.Name, Required: set.Required, Secret: set.Secret})
		}
		for _, m := range c.described[s.Name].Metrics {
			list[i].Metrics = append(list[i].Metrics, declared.Metric{Name: m.Name, Kind: m.Kind, Label: m.Label})
		}
		for _, partner := range s.Partners {
			list[i].Partners = append(list[i].Partners, declared.Partner{Name: partner.Name, URL: partner.Setting("URL")})
		}
	}
	return json.NewEncoder(w).Encode(list)
}
