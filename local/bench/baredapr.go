package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"

	"quadrille.internal/local/stack"
)

// BareDapr is what the same sidecars and broker do without services' logic and
// databases: messages of the same size over the same number of hops.
type BareDapr struct {
	PayloadBytes int       `json:"payload_bytes"`
	PerSecond    float64   `json:"per_second"`
	MS           Quantiles `json:"ms"`
}

const (
	hops = 4 // created, reserved, paid, confirmed
	// barePorts is the first port, before a second stack's shift; a hop has a
	// hundred, used as local/dapr.yaml does those of a service.
	barePorts     = 19000
	firstDaprPort = 18110 // of checkout's sidecar, in an unshifted stack
	bareMessages  = 20_000
	bareWarmUp    = 3_000
	bareStart     = 40 * time.Second
	bareGrace     = 10 * time.Second
)

// A bareDapr is four hops with their sidecars, running.
type bareDapr struct {
	stack *stack.Stack
	dir   string
	shift int
	parts []*exec.Cmd
}

// startBareDapr builds and starts bare Dapr beside a running stack.
func startBareDapr(ctx context.Context, s *stack.Stack) (*bareDapr, error) {
	c := &bareDapr{stack: s, dir: filepath.Join(s.Dir, "bench", "baredapr"), shift: s.App("checkout").DaprHTTP - firstDaprPort}
	if err := c.build(ctx); err != nil {
		return nil, err
	}
	if err := c.writeComponents(); err != nil {
		return nil, err
	}
	if err := c.forget(ctx); err != nil { // what an interrupted run left would be replayed
		return nil, err
	}
	for hop := 1; hop <= hops; hop++ {
		if err := errors.Join(c.startApp(hop), c.startSidecar(hop)); err != nil {
			return nil, errors.Join(err, c.stop(ctx))
		}
	}
	if err := c.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, c.stop(ctx))
	}
	return c, nil
}

func (c *bareDapr) binary() string { return filepath.Join(c.stack.Root, ".local", "bin", "baredapr") }

func (c *bareDapr) build(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", c.binary(), ".")
	cmd.Dir = filepath.Join(c.stack.Root, "local", "baredapr")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build bare Dapr: %w\n%s", err, out)
	}
	return nil
}

func hopApp(hop int) string   { return "bench" + strconv.Itoa(hop) }
func hopTopic(hop int) string { return "bench.hop" + strconv.Itoa(hop) }

// forget deletes its streams.
func (c *bareDapr) forget(ctx context.Context) error {
	b, err := openBroker(ctx, c.stack.RedisAddr(), c.stack.RedisPassword())
	if err != nil {
		return err
	}
	defer b.close()
	var topics []string
	for hop := 1; hop <= hops; hop++ {
		topics = append(topics, hopTopic(hop), hopApp(hop)+".deadletter")
	}
	return b.forget(topics...)
}

// writeComponents copies the components of the stack, with its topics in
// place of the services': whatever is tuned there is tuned here.
func (c *bareDapr) writeComponents() error {
	if err := os.MkdirAll(c.components(), 0o755); err != nil {
		return err
	}
	from := filepath.Join(c.stack.Root, "components", "local")
	for _, name := range []string{"config.yaml", "resiliency.yaml", "pubsub.yaml"} {
		text, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		if name == "pubsub.yaml" {
			if text, err = forBareDapr(text); err != nil {
				return fmt.Errorf("read %s: %w", name, err)
			}
		}
		if err := os.WriteFile(filepath.Join(c.components(), name), text, 0o644); err != nil { //nolint:gosec // the names are above
			return err
		}
	}
	return nil
}

func (c *bareDapr) components() string { return filepath.Join(c.dir, "components") }

// component is the part of a component's schema that is rewritten.
type component struct {
	APIVersion string         `yaml:"apiVersion"`
	Kind       string         `yaml:"kind"`
	Metadata   map[string]any `yaml:"metadata"`
	Spec       struct {
		Type     string           `yaml:"type"`
		Version  string           `yaml:"version"`
		Metadata []map[string]any `yaml:"metadata"`
	} `yaml:"spec"`
	Auth   map[string]string `yaml:"auth,omitempty"`
	Scopes []string          `yaml:"scopes"`
}

// forBareDapr gives a pub/sub component the topics and apps of bare Dapr, which has no
// secret store: its sidecars take the broker's password from their environment.
func forBareDapr(pubsub []byte) ([]byte, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(pubsub))
	decoder.KnownFields(true)
	var c component
	if err := decoder.Decode(&c); err != nil {
		return nil, err
	}
	var allowed, publishing, subscribing []string
	c.Scopes, c.Auth = nil, nil
	for hop := 1; hop <= hops; hop++ {
		dead := hopApp(hop) + ".deadletter"
		before := hopTopic((hop+hops-2)%hops + 1)
		allowed = append(allowed, hopTopic(hop), dead)
		publishing = append(publishing, hopApp(hop)+"="+hopTopic(hop)+","+dead)
		subscribing = append(subscribing, hopApp(hop)+"="+before+","+dead)
		c.Scopes = append(c.Scopes, hopApp(hop))
	}
	for _, entry := range c.Spec.Metadata {
		switch entry["name"] {
		case "redisPassword":
			delete(entry, "secretKeyRef")
			entry["envRef"] = "QUADRILLE_REDIS_PASSWORD"
		case "allowedTopics", "protectedTopics":
			entry["value"] = strings.Join(allowed, ",")
		case "publishingScopes":
			entry["value"] = strings.Join(publishing, ";")
		case "subscriptionScopes":
			entry["value"] = strings.Join(subscribing, ";")
		}
	}
	return yaml.Marshal(c)
}

func (c *bareDapr) port(hop, offset int) string {
	return strconv.Itoa(barePorts + 100*hop + offset + c.shift)
}

func (c *bareDapr) addr(hop, offset int) string { return "127.0.0.1:" + c.port(hop, offset) }

func (c *bareDapr) startApp(hop int) error {
	return c.spawn(hopApp(hop), []string{
		c.binary(), "-hop", strconv.Itoa(hop), "-hops", strconv.Itoa(hops),
		"-grpc", c.addr(hop, 1), "-control", c.addr(hop, 2),
	}, "DAPR_GRPC_PORT="+c.port(hop, 11))
}

// startSidecar runs the same daprd that serves the services.
func (c *bareDapr) startSidecar(hop int) error {
	return c.spawn(hopApp(hop)+"-daprd", []string{
		filepath.Join(c.stack.Root, ".local", "dapr", "bin", "daprd"),
		"--app-id", hopApp(hop),
		"--app-port", c.port(hop, 1),
		"--app-protocol", "grpc",
		"--dapr-listen-addresses", "127.0.0.1",
		"--dapr-http-port", c.port(hop, 10),
		"--dapr-grpc-port", c.port(hop, 11),
		"--dapr-internal-grpc-port", c.port(hop, 12),
		"--metrics-port", c.port(hop, 13),
		"--config", filepath.Join(c.components(), "config.yaml"),
		"--resources-path", c.components(),
		"--log-level", "warn",
	})
}

// spawn starts a process that `quad down` also finds, should this one be killed.
func (c *bareDapr) spawn(name string, args []string, env ...string) error {
	log, err := os.Create(filepath.Join(c.dir, name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // it is stopped in order, not killed
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), append(env,
		"APP_API_TOKEN="+c.stack.APIToken(), "DAPR_API_TOKEN="+c.stack.DaprAPIToken(),
		"QUADRILLE_REDIS_HOST="+c.stack.RedisAddr(), "QUADRILLE_REDIS_PASSWORD="+c.stack.RedisPassword(),
		"QUADRILLE_STACK="+c.stack.Dir)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for quad, which stops them
	if err := stack.StartWithSlack(cmd); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	c.parts = append(c.parts, cmd)
	return nil
}

func (c *bareDapr) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bareStart)
	defer cancel()
	for hop := 1; hop <= hops; hop++ {
		for {
			_, err := c.call(ctx, http.MethodGet, hop, "/ready", nil)
			if err == nil {
				break
			}
			const again = 50 * time.Millisecond
			if sleep(ctx, again) != nil {
				return fmt.Errorf("bare Dapr does not start, see the logs in %s: %w", c.dir, err)
			}
		}
	}
	return nil
}

func (c *bareDapr) call(ctx context.Context, method string, hop int, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.addr(hop, 2)+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("bare Dapr answers %s: %s", resp.Status, bytes.TrimSpace(text))
	}
	return text, err
}

// measure sends messages around, in a closed loop.
func (c *bareDapr) measure(ctx context.Context, inFlight, payloadBytes int) (*BareDapr, error) {
	body, err := json.Marshal(map[string]int{
		"count": bareMessages, "warm_up": bareWarmUp, "in_flight": inFlight, "bytes": payloadBytes,
	})
	if err != nil {
		return nil, err
	}
	text, err := c.call(ctx, http.MethodPost, 1, "/run", body)
	if err != nil {
		return nil, err
	}
	measured := &BareDapr{PayloadBytes: payloadBytes}
	if err := json.Unmarshal(text, measured); err != nil {
		return nil, fmt.Errorf("read bare Dapr's report: %w", err)
	}
	return measured, nil
}

// stop ends every process of bare Dapr and deletes what they left on the broker.
func (c *bareDapr) stop(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	for _, part := range c.parts {
		_ = part.Process.Signal(syscall.SIGTERM) // fails on one that has ended
	}
	for _, part := range c.parts {
		late := time.AfterFunc(bareGrace, func() { _ = part.Process.Kill() })
		_ = part.Wait() // however it ended
		late.Stop()
	}
	c.parts = nil
	return c.forget(ctx)
}
