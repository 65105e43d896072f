package main

import (
	"fmt"
	"strings"
)

const (
	// connsOfService is the pool of a pod with half a processor. A commit waits for a second
	// server, some 5 ms: five connections do 1,000 transactions a second, for which that pod has
	// no processor.
	connsOfService = 5
	// connsOfWorkflows are those of a sidecar to the workflows' state, as its component says.
	connsOfWorkflows = 12
	// surging are the pods more than its most replicas that a service has while a release rolls
	// out: one that begins, and one that ends.
	surging = 2
	// connsOfMigration are its own, and one that looks what it waits for.
	connsOfMigration = 2
	// connsOfPeople are for auditors, backups, exporters and administrators.
	connsOfPeople = 30
)

// connections to the database server of a cluster, at most.
type connections struct {
	services, pods, sidecars int
}

func (c *catalog) connections() (n connections) {
	for _, s := range c.specs {
		most := sizeOf(s.Name).MaxReplicas + surging
		if s.HasDatabase() {
			n.services++
			n.pods += most
		}
		if s.Workflows != nil {
			n.sidecars += most
		}
	}
	return n
}

func (n connections) all() int {
	return n.pods*connsOfService + n.sidecars*connsOfWorkflows + n.services*connsOfMigration + connsOfPeople
}

// table is the sum as people add it up.
func (n connections) table() string {
	var b strings.Builder
	b.WriteString("| who | how many | each | together |\n|---|---|---|---|\n")
	row := func(who string, many, each int) {
		fmt.Fprintf(&b, "| %s | %d | %d | %d |\n", who, many, each, many*each)
	}
	row("pods of services: their most replicas, and for each service one that begins and one that ends while releases roll out", n.pods, connsOfService)
	row("sidecars, for the state of workflows", n.sidecars, connsOfWorkflows)
	row("migrations", n.services, connsOfMigration)
	row("`quad verify`, backups, exporters, CloudNativePG, administrators", connsOfPeople, 1)
	fmt.Fprintf(&b, "| `max_connections` | | | %d |\n", n.all())
	return b.String()
}
