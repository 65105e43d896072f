package main

import "cmp"

// A size is what a service needs of a cluster. It follows from no declaration, but from what was
// measured (docs/performance.md) and from what an operator wants to be careful with.
type size struct {
	MinReplicas, MaxReplicas int
	CPU, Memory              string // limits
	Why                      string // where they are not the usual ones
	// Lag says that Kafka's lag counts too: its work comes by events that wait there.
	Lag bool
	// Canary says that a new release gets a part of the work first, and Gate that a person lets
	// it have all.
	Canary, Gate bool
}

const (
	usualMin, usualMax       = 3, 9
	usualCPU, usualMemory    = "500m", "256Mi"
	partitions, deadLettered = 12, 3
)

// Ten replicas, since a canary of ten per cent is one of ten.
var sizes = map[string]size{
	"checkout":  {MinReplicas: 10, MaxReplicas: 15, Canary: true, Gate: true},
	"payment":   {MinReplicas: 10, MaxReplicas: partitions, Canary: true, Lag: true},
	"inventory": {MaxReplicas: partitions, Lag: true},
	"order":     {MaxReplicas: partitions, Lag: true},
	"b2b":       {MinReplicas: 2, MaxReplicas: 6},
	"customer":  {MinReplicas: 2, MaxReplicas: 6},
	"identity": {CPU: "1", Memory: "384Mi",
		Why: "Three passwords may be hashed at a time, with 19 MiB and a processor each for 50 ms."},
	"cart": {Memory: "512Mi",
		Why: "10,000 browsers may watch stock, each with some 30 kB."},
	"gateway": {CPU: "1", Memory: "512Mi",
		Why: "It holds 10,000 connections of clients, some 20 kB each, and every request passes here."},
}

func sizeOf(name string) size {
	s := sizes[name]
	s.MinReplicas, s.MaxReplicas = cmp.Or(s.MinReplicas, usualMin), cmp.Or(s.MaxReplicas, usualMax)
	s.CPU, s.Memory = cmp.Or(s.CPU, usualCPU), cmp.Or(s.Memory, usualMemory)
	return s
}
