package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"quadrille.internal/platform/audit"
)

const (
	kafkaAddress = "kafka-kafka-bootstrap.kafka.svc:9093"
	// authority is the secret with the certificate that signs those of the database server.
	authority = "postgres-ca"
	auditor   = "auditor"
	// workflows is the role and the database of Dapr's workflow engine.
	workflows = "workflow"

	// keptFor is how long Kafka keeps events, as Redis does locally: less than the 15 days for
	// which services remember what they have handled.
	keptFor = 7 * 24 * 60 * 60 * 1000
	// deadKeptFor leaves operators some more time.
	deadKeptFor = 2 * keptFor
	replicas    = 3
)

// A topic of Kafka.
type topic struct {
	Name       string
	Partitions int
	Retention  int // ms
}

// topicsOf lists the topics of all events, and of those that sidecars give up on.
func (c *catalog) topicsOf() (list []topic) {
	for _, t := range c.types() {
		list = append(list, topic{t, partitions, keptFor})
	}
	for _, s := range c.specs {
		for _, t := range deadLetters(s) {
			list = append(list, topic{t, deadLettered, deadKeptFor})
		}
	}
	return list
}

// A role of the database server.
type role struct {
	Name, Secret, Entry, Property, Database string
}

// data is what the templates of the platform know.
type data struct {
	Databases      []string // one a service
	Roles          []role
	Auditor        string
	Workflows      string // role and database, or ""
	AuditorRights  []string
	Topics         []topic
	Replicas       int
	MaxConnections int
	Kafka          string
}

func (c *catalog) data() data {
	d := data{
		Auditor: auditor, AuditorRights: audit.Rights(auditor), Topics: c.topicsOf(), Replicas: replicas,
		MaxConnections: c.connections().all(), Kafka: kafkaAddress,
	}
	for _, s := range c.specs {
		if s.Workflows != nil {
			d.Workflows = workflows
		}
		if !s.HasDatabase() {
			continue
		}
		d.Databases = append(d.Databases, s.Name)
		d.Roles = append(d.Roles,
			role{s.Name + "_owner", s.Name + "-owner", s.Name, "owner-password", s.Name},
			role{s.Name, s.Name + "-database", s.Name, "database-password", s.Name})
	}
	if d.Workflows != "" {
		d.Roles = append(d.Roles, role{d.Workflows, "statestore", "platform", "statestore-password", d.Workflows})
	}
	d.Roles = append(d.Roles, role{auditor, "auditor-database", "platform", "auditor-password", "postgres"})
	return d
}

// platform adds what the services stand on, as far as it follows from them.
func (c *catalog) platform(root string, made []file, to map[string]string) error {
	for _, name := range []string{"config.yaml", "pubsub.yaml", "resiliency.yaml", "statestore.yaml", "workflows.yaml"} {
		text, err := madeOr(root, made, "components/kafka/"+name)
		if err != nil {
			return err
		}
		if to[path.Join(platformFolder, "dapr", name)], err = c.onKubernetes(name, text); err != nil {
			return fmt.Errorf("components/kafka/%s for Kubernetes: %w", name, err)
		}
	}
	for _, at := range []string{
		"kafka/topics.yaml", "postgres/cluster.yaml", "postgres/databases.yaml", "postgres/secrets.yaml",
	} {
		text, err := render("platform", path.Base(at), c.data())
		if err != nil {
			return err
		}
		to[path.Join(platformFolder, at)] = text
	}
	sql, err := render("platform", "bootstrap.sql", c.data())
	if err != nil {
		return err
	}
	to[path.Join(platformFolder, "postgres/bootstrap.sql")] = strings.Replace(sql, "# ", "-- ", 1)
	return nil
}

// madeOr is a file as it is made, or as it is.
func madeOr(root string, made []file, name string) (string, error) {
	if i := slices.IndexFunc(made, func(f file) bool { return f.path == name }); i >= 0 {
		return made[i].want, nil
	}
	text, err := os.ReadFile(filepath.Join(root, name))
	return string(text), err
}
