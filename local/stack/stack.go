// Package stack starts, watches and stops everything Quadrille needs on one
// machine: PostgreSQL, Redis or Kafka, Dapr's control plane, the payment provider's
// stand-in, the services and their sidecars. The quad command and the end-to-end
// tests use the same stack; a second one beside the first takes another folder
// and shifted ports.
//
// It needs Linux: processes are identified through /proc.
package stack

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"quadrille.internal/platform/seal"
	"quadrille.internal/quad/installation"
)

// The ports that local/dapr.yaml does not know of, before the shift.
const (
	postgresPort         = 18543
	redisPort            = 18637
	kafkaPort            = 18092
	kafkaControllerPort  = 18093
	connectPort          = 18083
	kafkaClusterPort     = 18070 // and the eight after it, three for each of three brokers
	pspPort              = 18900
	erpPort              = 18910
	mailPort             = 18920
	smtpPort             = 18921
	tracesPort           = 18940
	placementPort        = 18950
	placementHealthPort  = 18951
	placementMetricsPort = 18952
	placementRaftPort    = 18953
	schedulerPort        = 18960
	etcdClientPort       = 18961
	etcdPeerPort         = 18962
	schedulerHealthPort  = 18963
	schedulerMetricsPort = 18964
	sentryPort           = 18970
	sentryHealthPort     = 18971

	bridgeAdminPort        = 18980
	bridgeGRPCPort         = 18981
	bridgeDaprPort         = 18990
	bridgeDaprGRPCPort     = 18991
	bridgeDaprInternalPort = 18992
	bridgeDaprMetricsPort  = 18993
)

// TestPortShift keeps the stack of the tests clear of the one in daily use.
const TestPortShift = 10000

// Options say which stack is meant. The zero value of each field is the default.
type Options struct {
	Root       string            // the repository; default: found from the working folder upwards
	Dir        string            // data, logs, secrets; default: Root/.local
	PortShift  int               // added to every port
	Broker     string            // Redis, Kafka or OneProcess; default: the one in use, else Redis
	Brokers    int               // of a private Kafka, 1 or 3; default: those in use, else 1
	Relay      string            // OutboxRelay or Debezium; default: the one in use, else OutboxRelay
	LogicalWAL bool              // PostgreSQL can have logical replication slots, as for Debezium
	Services   []string          // that it has; default: those in use, else Usual
	Usual      []string          // services of a stack that is not in use; default: all
	Replicas   int               // of each service; default: those in use, else 1
	Program    string            // of the one process; default: the one that is built
	Env        map[string]string // set for every service, over what local/dapr.yaml says
	Trace      bool              // keep traces; default: while a collector runs
	Report     func(Event)       // told what happens; default: nobody
}

// An Event says what became of one part.
type Event struct {
	Part   string        `json:"part"`
	State  State         `json:"state"`
	Detail string        `json:"detail,omitempty"`
	Took   time.Duration `json:"took_ns,omitempty"`
}

// State is what an Event reports.
type State string

// The states of a part.
const (
	Running  State = "running" // it was there already
	Started  State = "started"
	Stopped  State = "stopped"
	Building State = "building" // repeated while it lasts
	Built    State = "built"
	Applied  State = "applied" // migrations
	Note     State = "note"
)

// A Stack is one set of processes with its folder. Its methods may be called from
// several goroutines as long as no two start or stop the same part.
type Stack struct {
	Root string
	Dir  string

	opts      Options
	reporting sync.Mutex // Report is called by one goroutine at a time
	run       *runFile
	further   []App             // the replicas beside the first of each service
	passwords map[string]string // by database role
	migrated  map[string]string // the programs that migrated, by app
	admin     map[string]string // operators' token, by service
	tokens    struct{ app, dapr, psp, erp, mail string }

	postgres struct {
		external              bool
		host, password, query string
		superuser             *url.URL
	}
	redis struct {
		external       bool
		addr, password string
	}
	kafka struct {
		external  bool
		addr      string // of a cluster the first broker's
		nodes     []kafkaNode
		authority []byte // PEM, the certificate that brokers are known by
	}
}

// An EnvironmentError is a fault of the machine rather than of Quadrille, with
// what to do about it.
type EnvironmentError = installation.EnvironmentError

// New reads local/dapr.yaml and the stack's secrets, which it makes the first
// time. It starts nothing.
func New(opts Options) (*Stack, error) {
	if opts.Root == "" {
		root, err := findRoot()
		if err != nil {
			return nil, err
		}
		opts.Root = root
	}
	opts.Dir = cmp.Or(opts.Dir, filepath.Join(opts.Root, ".local"))
	used, brokers := brokerInUse(opts.Dir)
	opts.Broker = cmp.Or(opts.Broker, used, Redis)
	if opts.Brokers == 0 && opts.Broker == used {
		opts.Brokers = brokers
	}
	opts.Brokers = cmp.Or(opts.Brokers, 1)
	if opts.Brokers != 1 && (opts.Broker != Kafka || opts.Brokers != clusterSize) {
		return nil, fmt.Errorf("%d brokers of %q: there is one, or %d of Kafka", opts.Brokers, opts.Broker, clusterSize)
	}
	opts.Relay = cmp.Or(opts.Relay, relayInUse(opts.Dir), OutboxRelay)
	if len(opts.Services) == 0 {
		var inUse bool
		if opts.Services, inUse = servicesInUse(opts.Dir); !inUse {
			opts.Services = opts.Usual
		}
	}
	if err := opts.chooseReplicas(); err != nil {
		return nil, err
	}
	s := &Stack{opts: opts}
	var err error
	if s.Root, err = filepath.Abs(opts.Root); err != nil {
		return nil, err
	}
	if s.Dir, err = filepath.Abs(opts.Dir); err != nil {
		return nil, err
	}

	return s, s.prepare()
}

// prepare makes the stack's folders and reads or makes what it knows.
func (s *Stack) prepare() error {
	for _, sub := range []string{"log", "run", "secrets"} {
		if err := os.MkdirAll(filepath.Join(s.Dir, sub), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(s.Dir, "secrets"), 0o700); err != nil {
		return err
	}
	for _, step := range []func() error{s.readRun, s.readSecrets, s.locateServers, s.locateKafka, s.certifyKafka} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// findRoot looks for the repository from the working folder upwards, then around
// the running binary, which is installed as .local/bin/quad.
func findRoot() (string, error) {
	var starts []string
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	for _, dir := range starts {
		for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "local", "dapr.yaml")); err == nil {
				return dir, nil
			}
		}
	}
	return "", &EnvironmentError{
		Problem: "this is not a folder of the Quadrille repository (no local/dapr.yaml here or above)",
		Remedy:  "change into the repository",
	}
}

func (s *Stack) runFilePath() string { return filepath.Join(s.Root, "local", "dapr.yaml") }

func (s *Stack) readRun() (err error) {
	if s.run, err = readRunFile(s.runFilePath(), s.Dir, s.opts.PortShift); err != nil {
		return err
	}
	positions := map[string]int{}
	for i, app := range s.Apps() {
		positions[app] = i
	}
	if err := s.chooseServices(); err != nil {
		return err
	}
	if components := filepath.Join(s.Root, "components", s.opts.Broker); s.opts.Broker != Redis && !s.OneProcess() {
		if _, err := os.Stat(components); err != nil {
			return fmt.Errorf("there are no components for the broker %q: %w", s.opts.Broker, err)
		}
		s.run.Common.ResourcesPaths = []string{components}
		s.run.Common.ConfigFilePath = filepath.Join(components, "config.yaml")
	}
	if s.OneProcess() {
		s.joinApps()
	}
	if err := s.chooseRelay(); err != nil {
		return err
	}
	s.exportTraces()
	for _, app := range s.run.Apps {
		for key, value := range s.opts.Env {
			app.Env[key] = value
		}
	}
	return s.addReplicas(positions)
}

func (s *Stack) readSecrets() error {
	wanted := map[string]*string{
		"app-api-token":  &s.tokens.app,
		"dapr-api-token": &s.tokens.dapr,
		"psp.key":        &s.tokens.psp,
		"erp.key":        &s.tokens.erp,
		"mail.key":       &s.tokens.mail,
		"postgres":       &s.postgres.password,
		"redis":          &s.redis.password,
	}
	for name, value := range wanted {
		var err error
		if *value, err = s.secret(name); err != nil {
			return err
		}
	}
	s.passwords, s.migrated = map[string]string{}, map[string]string{}
	roles := append(s.WithDatabase(), auditor, stateStore, relayRole)
	for _, app := range s.WithDatabase() {
		roles = append(roles, ownerOf(app))
	}
	for _, role := range roles {
		password, err := s.secret(role + ".password")
		if err != nil {
			return err
		}
		s.passwords[role] = password
	}
	s.admin = map[string]string{}
	for _, app := range append(s.Apps(), Together) {
		token, err := s.secret(app + ".admin")
		if err != nil {
			return err
		}
		s.admin[app] = token
	}
	for _, app := range s.run.Apps {
		if app.Env[seal.Setting+"_FILE"] == "" {
			continue
		}
		if _, err := s.secret(app.ID + ".master"); err != nil {
			return err
		}
	}
	return nil
}

// locateServers decides between private servers and those the environment names.
func (s *Stack) locateServers() error {
	s.redis.addr = s.addr(redisPort)
	s.postgres.host = s.addr(postgresPort)
	s.postgres.query = "sslmode=disable"
	s.postgres.superuser = &url.URL{
		Scheme: "postgres", User: url.UserPassword("postgres", s.postgres.password),
		Host: s.postgres.host, Path: "/postgres", RawQuery: s.postgres.query,
	}
	if value := os.Getenv("QUADRILLE_REDIS"); value != "" {
		addr, password, err := parseRedis(value)
		if err != nil {
			return err
		}
		s.redis.external, s.redis.addr, s.redis.password = true, addr, password
	}
	if value := os.Getenv("QUADRILLE_POSTGRES"); value != "" {
		u, err := url.Parse(value)
		if err != nil || u.Host == "" || u.User == nil {
			return errors.New("QUADRILLE_POSTGRES must be a superuser's URL, postgres://user:password@host:port/postgres")
		}
		s.postgres.external, s.postgres.superuser = true, u
		s.postgres.host, s.postgres.query = u.Host, u.RawQuery
	}
	return nil
}

func (s *Stack) addr(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port+s.opts.PortShift))
}

// port is for parts that take address and port in separate flags.
func (s *Stack) port(port int) string { return strconv.Itoa(port + s.opts.PortShift) }

func portOf(addr string) int {
	_, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(port)
	return n
}

func (s *Stack) report(part string, state State, detail string) {
	s.reportEvent(Event{Part: part, State: state, Detail: detail})
}

func (s *Stack) reportEvent(e Event) {
	s.reporting.Lock()
	defer s.reporting.Unlock()
	if s.opts.Report != nil {
		s.opts.Report(e)
	}
}
