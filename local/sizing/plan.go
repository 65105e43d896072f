package sizing

import (
	"cmp"
	"math"
	"slices"
)

// Assumptions are what no benchmark on one machine can tell.
type Assumptions struct {
	// Used is how much of its cores a part may use, so that there is room for a peak, a
	// roll-out and the loss of a zone.
	Used float64 `json:"cpu_used"`
	// PodCores and PodMB are what a pod may take, service and sidecar each.
	PodCores float64 `json:"pod_cores"`
	PodMB    float64 `json:"pod_mb"`
	// Replication and RetentionDays are Kafka's.
	Replication   float64 `json:"kafka_replication"`
	RetentionDays float64 `json:"kafka_retention_days"`
	// Reads is how many consumer groups read an event, on average.
	Reads float64 `json:"reads_of_an_event"`
	// BrokerMBs is what one broker takes in a second, replication included.
	BrokerMBs float64 `json:"broker_mb_per_second"`
	// PrimaryCores and PrimaryWALMBs are what one PostgreSQL primary has, and writes a second.
	PrimaryCores  float64 `json:"primary_cores"`
	PrimaryWALMBs float64 `json:"primary_wal_mb_per_second"`
	// Busiest is how much of PostgreSQL's work the busiest service's database has.
	Busiest float64 `json:"busiest_database"`
	// Prices, in dollars: of a core and a gigabyte of memory an hour, of a gigabyte of disk a
	// month, and of a gigabyte between zones.
	CoreHour    float64 `json:"dollars_core_hour"`
	GBHour      float64 `json:"dollars_gb_hour"`
	DiskGBMonth float64 `json:"dollars_disk_gb_month"`
	NetworkGB   float64 `json:"dollars_network_gb"`
}

// Usual assumptions.
func Usual() Assumptions {
	return Assumptions{
		Used: 0.6, PodCores: 0.5, PodMB: 256, Replication: 3, RetentionDays: 7, Reads: 2, BrokerMBs: 60,
		PrimaryCores: 32, PrimaryWALMBs: 100, Busiest: 0.4,
		CoreHour: 0.035, GBHour: 0.004, DiskGBMonth: 0.09, NetworkGB: 0.01,
	}
}

// Plan is what a number of orders a minute needs.
type Plan struct {
	OrdersPerMinute float64     `json:"orders_per_minute"`
	Assumptions     Assumptions `json:"assumptions"`
	Services        []Service   `json:"services"`
	// Partitions is of each topic: one consumer at most reads a partition.
	Partitions int `json:"partitions"`
	// DatabaseCores are of all databases, Shards how many the busiest must be split into.
	DatabaseCores float64 `json:"database_cores"`
	WALMBs        float64 `json:"wal_mb_per_second"`
	Shards        int     `json:"shards_of_busiest_database"`
	Brokers       int     `json:"brokers"`
	KafkaInMBs    float64 `json:"kafka_in_mb_per_second"`
	KafkaOutMBs   float64 `json:"kafka_out_mb_per_second"`
	KafkaGB       float64 `json:"kafka_gb"`
	DollarsMonth  float64 `json:"dollars_a_month"`
	// Limits say up to how many orders a minute one of each suffices, the first to break first.
	Limits []Limit `json:"limits"`
}

// Service is what one service needs.
type Service struct {
	Name      string  `json:"name"`
	MSService float64 `json:"cpu_ms_per_order"`
	MSSidecar float64 `json:"sidecar_cpu_ms_per_order"`
	Replicas  int     `json:"replicas"`
}

// Limit is where one of something no longer suffices.
type Limit struct {
	What            string  `json:"what"`
	OrdersPerMinute float64 `json:"orders_per_minute"`
}

const (
	minReplicas = 2 // one may be replaced
	minBrokers  = 3
	hoursMonth  = 730
	mb          = 1 << 20
)

// Size reckons what orders a minute need.
func (m *Model) Size(perMinute float64, a Assumptions) Plan {
	rate := perMinute / 60
	p := Plan{OrdersPerMinute: perMinute, Assumptions: a}
	most := 0
	for _, name := range m.services() {
		s := Service{Name: name, MSService: m.parts[name].of(m.Batch), MSSidecar: m.parts[name+"-daprd"].of(m.Batch)}
		s.Replicas = atLeast(minReplicas, rate*max(s.MSService, s.MSSidecar)/1000/(a.PodCores*a.Used))
		most = max(most, s.Replicas)
		p.Services = append(p.Services, s)
	}
	p.Partitions = atLeast(12, math.Ceil(1.5*float64(most)/12)*12) // room to grow: more partitions later move keys
	database := m.parts["postgres"].of(m.Batch)
	p.DatabaseCores = rate * database / 1000 / a.Used
	p.WALMBs = rate * m.WAL / mb
	p.Shards = atLeast(1, max(p.DatabaseCores/a.PrimaryCores, p.WALMBs/a.PrimaryWALMBs)*a.Busiest)
	in := m.Broker / (1 + a.Reads)
	p.KafkaInMBs = rate * in / mb
	p.KafkaOutMBs = p.KafkaInMBs * a.Reads
	p.Brokers = atLeast(minBrokers, p.KafkaInMBs*a.Replication/a.BrokerMBs/a.Used)
	p.KafkaGB = p.KafkaInMBs * a.Replication * a.RetentionDays * 24 * 3600 / 1024
	p.DollarsMonth = p.cost()
	p.Limits = []Limit{
		{"WAL of one primary with all databases", 60 * a.PrimaryWALMBs * mb / m.WAL},
		{"cores of one primary with all databases", 60 * a.PrimaryCores * a.Used * 1000 / database},
		{"WAL of a primary for the busiest database", 60 * a.PrimaryWALMBs * mb / m.WAL / a.Busiest},
		{"three brokers", 60 * minBrokers * a.BrokerMBs * a.Used * mb / in / a.Replication},
	}
	slices.SortFunc(p.Limits, func(a, b Limit) int { return cmp.Compare(a.OrdersPerMinute, b.OrdersPerMinute) })
	return p
}

// cost is by the prices that are assumed: an order of magnitude.
func (p *Plan) cost() float64 {
	a := p.Assumptions
	pods := 0
	for _, s := range p.Services {
		pods += s.Replicas
	}
	const brokerCores, gbOfCore = 4, 4                                                       // machines of brokers and databases
	cores := float64(pods)*2*a.PodCores + float64(p.Brokers)*brokerCores + 2*p.DatabaseCores // each database has a standby
	gb := float64(pods)*2*a.PodMB/1024 + gbOfCore*(float64(p.Brokers)*brokerCores+2*p.DatabaseCores)
	between := (p.KafkaInMBs*(a.Replication-1) + p.KafkaOutMBs + p.WALMBs) * 2 / 3 // of three zones, two are others
	return hoursMonth*(cores*a.CoreHour+gb*a.GBHour) + p.KafkaGB*a.DiskGBMonth + between*3600*hoursMonth/1024*a.NetworkGB
}

func atLeast(least int, n float64) int { return max(least, int(math.Ceil(n))) }
