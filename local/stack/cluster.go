package stack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"quadrille.internal/quad/components"
)

const (
	// clusterSize is how many brokers a private cluster has.
	clusterSize = 3
	// The heap of a broker that has little to do, alone and as one of three.
	oneHeap, eachHeap = "256m", "192m"
	// provisionPatience is for a cluster whose brokers are just starting.
	provisionPatience = 3 * time.Minute
	// scramIterations is the least that Kafka takes; passwords are random.
	scramIterations = 4096
)

// A kafkaNode is one broker of a private Kafka, and a controller.
type kafkaNode struct {
	id   int
	part string
	heap string
	// Addresses. One broker alone has none for the others.
	clients, brokers, controllers string
}

func kafkaParts() []string {
	parts := []string{"kafka"}
	for id := 2; id <= clusterSize; id++ {
		parts = append(parts, fmt.Sprintf("kafka-%d", id))
	}
	return parts
}

// stopBrokers kills the last of three brokers: it is let go by a majority of the controllers,
// and without the others it would wait for one. What it has acknowledged is in its files.
func (s *Stack) stopBrokers(ctx context.Context) error {
	parts := kafkaParts()
	last := len(parts) - 1
	err := s.stopAll(ctx, kafkaGrace, parts[:last]...)
	return errors.Join(err, s.stopPart(ctx, parts[last], syscall.SIGKILL, partGrace))
}

func (s *Stack) kafkaNodes() []kafkaNode {
	if s.opts.Brokers < 2 {
		return []kafkaNode{{1, "kafka", oneHeap, s.addr(kafkaPort), "", s.addr(kafkaControllerPort)}}
	}
	nodes := make([]kafkaNode, s.opts.Brokers)
	for i, part := range kafkaParts() {
		first := kafkaClusterPort + 3*i
		nodes[i] = kafkaNode{i + 1, part, eachHeap, s.addr(first), s.addr(first + 1), s.addr(first + 2)}
	}
	return nodes
}

func (s *Stack) kafkaAddrs() []string {
	addrs := make([]string, len(s.kafka.nodes))
	for i, node := range s.kafka.nodes {
		addrs[i] = node.clients
	}
	return addrs
}

// kafkaSecured reports whether Kafka is as in production: TLS, a user for each app, and
// what a user may do.
func (s *Stack) kafkaSecured() bool { return len(s.kafka.nodes) > 1 && !s.kafka.external }

// securedListeners are one for clients, who name themselves by a password, and one each
// for brokers and controllers, which have a certificate.
func (s *Stack) securedListeners(node kafkaNode) string {
	return fmt.Sprintf(`listeners=CLIENTS://%s,BROKERS://%s,CONTROLLERS://%s
listener.security.protocol.map=CLIENTS:SASL_SSL,BROKERS:SSL,CONTROLLERS:SSL
inter.broker.listener.name=BROKERS
controller.listener.names=CONTROLLERS
ssl.keystore.type=PEM
ssl.keystore.location=%s
ssl.truststore.type=PEM
ssl.truststore.location=%s
ssl.client.auth=required
listener.name.clients.ssl.client.auth=none
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.clients.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:CN=%s
# Nobody makes a topic by naming it; see components/kafka/topics/topics.properties.
auto.create.topics.enable=false
offsets.topic.replication.factor=3
offsets.topic.num.partitions=3
`, node.clients, node.brokers, node.controllers, s.secretFile(brokerCert), s.secretFile(authorityCert), superUser)
}

func kafkaPasswordFile(user string) string { return user + ".kafka" }

// KafkaClient connects to the private Kafka as a user that may do what GrantKafka said,
// or with every right as "".
func (s *Stack) KafkaClient(user string, opts ...kgo.Opt) (*kgo.Client, error) {
	if !s.kafkaSecured() {
		return kgo.NewClient(append(opts, kgo.SeedBrokers(s.kafkaAddrs()...))...)
	}
	if user == "" {
		config, err := s.superTLS()
		if err != nil {
			return nil, err
		}
		addrs := make([]string, len(s.kafka.nodes))
		for i, node := range s.kafka.nodes {
			addrs[i] = node.brokers
		}
		return kgo.NewClient(append(opts, kgo.SeedBrokers(addrs...), kgo.DialTLSConfig(config))...)
	}
	password, err := s.secret(kafkaPasswordFile(user))
	if err != nil {
		return nil, err
	}
	return kgo.NewClient(append(opts, kgo.SeedBrokers(s.kafkaAddrs()...), kgo.DialTLSConfig(s.clientTLS()),
		kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism()))...)
}

// provisionKafka makes the topics of components/kafka, and a user for each app who may do
// what its scopes say and nothing else. It may be repeated: topics that are there stay.
func (s *Stack) provisionKafka(ctx context.Context) error {
	folder, err := components.Read(s.Components())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, provisionPatience)
	defer cancel()
	if err := s.MakeTopics(ctx, folder.AllTopics()...); err != nil {
		return err
	}
	publishing, subscribing := folder.Publishing(), folder.Subscribing()
	for _, app := range s.Apps() {
		if err := s.GrantKafka(ctx, app, publishing[app], subscribing[app]); err != nil {
			return err
		}
	}
	return nil
}

// kafkaAdmin calls do with a client that has every right.
func (s *Stack) kafkaAdmin(do func(*kadm.Client) error) error {
	client, err := s.KafkaClient("")
	if err != nil {
		return err
	}
	defer client.Close()
	return do(kadm.NewClient(client))
}

// MakeTopics makes topics of the private Kafka that are not there yet.
func (s *Stack) MakeTopics(ctx context.Context, topics ...string) error {
	return s.kafkaAdmin(func(admin *kadm.Client) error {
		made, err := admin.CreateTopics(ctx, -1, -1, nil, topics...) // as many partitions and replicas as the brokers' settings say
		if err != nil {
			return fmt.Errorf("make topics: %w", err)
		}
		for _, topic := range made {
			if topic.Err != nil && !errors.Is(topic.Err, kerr.TopicAlreadyExists) {
				return fmt.Errorf("make topic %s: %w: %s", topic.Topic, topic.Err, topic.ErrMessage)
			}
		}
		return nil
	})
}

// A kafkaRule is one thing that a user may do.
type kafkaRule struct {
	resource   kmsg.ACLResourceType
	name       string
	pattern    kmsg.ACLResourcePatternType
	host       string
	operation  kmsg.ACLOperation
	permission kmsg.ACLPermissionType
}

// kafkaRules are those of a user who may publish and subscribe to these topics, the latter in a consumer
// group of its name.
func kafkaRules(user string, publish, subscribe []string) map[kafkaRule]bool {
	rules := make(map[kafkaRule]bool)
	may := func(resource kmsg.ACLResourceType, name string, operations ...kmsg.ACLOperation) {
		for _, operation := range operations {
			rules[kafkaRule{resource, name, kmsg.ACLResourcePatternTypeLiteral, "*", operation, kmsg.ACLPermissionTypeAllow}] = true
		}
	}
	for _, topic := range publish {
		may(kmsg.ACLResourceTypeTopic, topic, kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe)
	}
	for _, topic := range subscribe {
		may(kmsg.ACLResourceTypeTopic, topic, kmsg.ACLOperationRead, kmsg.ACLOperationDescribe)
	}
	if len(subscribe) > 0 {
		may(kmsg.ACLResourceTypeGroup, user, kmsg.ACLOperationRead)
	}
	return rules
}

// GrantKafka makes a user of the private cluster, with a password of its own, who may publish and subscribe to
// these topics, the latter in a consumer group of its name. Whatever else the user might do before ends.
func (s *Stack) GrantKafka(ctx context.Context, user string, publish, subscribe []string) error {
	password, err := s.secret(kafkaPasswordFile(user))
	if err != nil {
		return err
	}
	client, err := s.KafkaClient("")
	if err != nil {
		return err
	}
	defer client.Close()
	altered, err := kadm.NewClient(client).AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{
		User: user, Mechanism: kadm.ScramSha512, Iterations: scramIterations, Password: password,
	}})
	if err = errors.Join(err, altered.Error()); err != nil {
		return fmt.Errorf("make Kafka's user %s: %w", user, err)
	}
	ctx, cancel := context.WithTimeout(ctx, provisionPatience)
	defer cancel()
	want := kafkaRules(user, publish, subscribe)
	for _, node := range s.kafka.nodes {
		// Brokers hear of a change one after the other, of a password first, and refuse the user before.
		err := poll(ctx, func(ctx context.Context) error { return settleRules(ctx, client, node, "User:"+user, want) })
		if err != nil {
			return fmt.Errorf("have %s know what Kafka's user %s may do: %w", node.part, user, err)
		}
	}
	return nil
}

// settleRules makes the rules that a broker does not know of a principal, takes those away that are not wanted, and
// fails where there was any.
func settleRules(ctx context.Context, client *kgo.Client, node kafkaNode, principal string, want map[kafkaRule]bool) error {
	known, err := rulesOf(ctx, client.Broker(node.id), principal)
	if err != nil {
		return err
	}
	missing, beyond := kmsg.NewPtrCreateACLsRequest(), kmsg.NewPtrDeleteACLsRequest()
	for r := range want {
		if !known[r] {
			missing.Creations = append(missing.Creations, kmsg.CreateACLsRequestCreation{
				ResourceType: r.resource, ResourceName: r.name, ResourcePatternType: r.pattern,
				Principal: principal, Host: r.host, Operation: r.operation, PermissionType: r.permission,
			})
		}
	}
	for r := range known {
		if !want[r] {
			beyond.Filters = append(beyond.Filters, kmsg.DeleteACLsRequestFilter{
				ResourceType: r.resource, ResourceName: &r.name, ResourcePatternType: r.pattern,
				Principal: &principal, Host: &r.host, Operation: r.operation, PermissionType: r.permission,
			})
		}
	}
	if len(missing.Creations)+len(beyond.Filters) == 0 {
		return nil
	}
	made, err := missing.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	gone, err := beyond.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	err = fmt.Errorf("it was to learn of %d rules, and that %d are gone", len(made.Results), len(gone.Results))
	for _, r := range made.Results {
		err = errors.Join(err, kerr.ErrorForCode(r.ErrorCode))
	}
	for _, r := range gone.Results {
		err = errors.Join(err, kerr.ErrorForCode(r.ErrorCode))
	}
	return err
}

// rulesOf are what a broker knows of a principal.
func rulesOf(ctx context.Context, broker *kgo.Broker, principal string) (map[kafkaRule]bool, error) {
	ask := kmsg.NewPtrDescribeACLsRequest()
	ask.ResourceType, ask.ResourcePatternType, ask.Principal = kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny, &principal
	ask.Operation, ask.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
	told, err := ask.RequestWith(ctx, broker)
	if err == nil {
		err = kerr.ErrorForCode(told.ErrorCode)
	}
	if err != nil {
		return nil, err
	}
	rules := make(map[kafkaRule]bool)
	for _, r := range told.Resources {
		for _, a := range r.ACLs {
			rules[kafkaRule{r.ResourceType, r.ResourceName, r.ResourcePatternType, a.Host, a.Operation, a.PermissionType}] = true
		}
	}
	return rules, nil
}

// AwaitReplicas waits until each partition of the private Kafka has all of its replicas in
// sync, after a broker came back.
func (s *Stack) AwaitReplicas(ctx context.Context) error {
	return s.kafkaAdmin(func(admin *kadm.Client) error {
		return poll(ctx, func(ctx context.Context) error {
			topics, err := admin.ListTopicsWithInternal(ctx)
			if err != nil {
				return err
			}
			for _, topic := range topics {
				for _, p := range topic.Partitions {
					if len(p.ISR) < len(p.Replicas) || !slices.Contains(p.ISR, p.Leader) {
						return fmt.Errorf("partition %d of %s has %v of its replicas %v in sync", p.Partition, p.Topic, p.ISR, p.Replicas)
					}
				}
			}
			return nil
		})
	})
}

// LeaderOf is the part that leads a partition of the private Kafka.
func (s *Stack) LeaderOf(ctx context.Context, topic string, partition int32) (part string, err error) {
	err = s.kafkaAdmin(func(admin *kadm.Client) error {
		topics, err := admin.ListTopics(ctx, topic)
		if err != nil {
			return err
		}
		leader := int(topics[topic].Partitions[partition].Leader)
		i := slices.IndexFunc(s.kafka.nodes, func(n kafkaNode) bool { return n.id == leader })
		if i < 0 {
			return fmt.Errorf("partition %d of %s has no leader", partition, topic)
		}
		part = s.kafka.nodes[i].part
		return nil
	})
	return part, err
}
