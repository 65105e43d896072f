package shop

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/local/observability"
	"quadrille.internal/local/visit"
	"quadrille.internal/platform/servicetest"
)

// What has no value in a run of some minutes in which all goes well.
var withoutValue = map[string]string{
	"max by (service, topic) (quadrille_outbox_refused)":                                            "the broker refuses nothing",
	"max by (topic) (quadrille_outbox_refused)":                                                     "the broker refuses nothing",
	"quadrille:goroutines:growth1h":                                                                 "an hour ago nothing ran",
	"min_over_time(go_goroutines[10m]) / max_over_time(go_goroutines[10m] offset 1h)":               "an hour ago nothing ran",
	"(min(dapr_sentry_issuercert_expiry_timestamp) - time()) / 86400":                               "sentry's metrics are scraped on Kubernetes",
	`sum by (service) (rate(quadrille_http_request_seconds_count{status="5xx"}[$__rate_interval]))`: "no answer was 5xx",
}

// valuesTime is how long it may take until each query has a value: some ask how much something
// grew, and services look at some of it now and then.
const valuesTime = 4 * time.Minute

// buyEvery keeps the new customers of these tests below the 100 that identity lets register from
// one address in an hour.
const buyEvery = 4 * time.Second

// slowAlerts fire where orders take longer than the objective allows, which is up to the machine
// that runs these tests.
var slowAlerts = []string{"OrdersLateFast", "OrdersLateSlow"}

// prometheusPort is one that a stack leaves free, and no program is given by chance.
const prometheusPort = 18999

// A Prometheus scrapes the services while orders go through. Every query of every dashboard, and
// what every alert measures, has a value.
func TestAlertsAndDashboardsHaveValues(t *testing.T) {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("SKIPPED: alerts and dashboards are not tried on what services tell: there is no prometheus (apt-get install prometheus)")
	}
	m := openMall(t)
	shop := visit.NewShop(sys.HTTPURL("gateway"), visit.Mailbox{URL: sys.MailURL(), Key: sys.MailKey()})
	defer shop.Close()
	p := startPrometheus(t, program)
	servicetest.Await(t, "all services are scraped", func() bool {
		found, err := p.query("count(up == 1)")
		return err == nil && len(found) == 1 && strings.Contains(string(found[0]), fmt.Sprintf("%q", fmt.Sprint(len(sys.Apps()))))
	})
	queries, err := observability.Queries(sys.Root)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(valuesTime); ; {
		m.buyOne(t, shop)
		var empty []string
		for _, q := range queries {
			found, err := p.query(strings.ReplaceAll(q.Expr, "$__rate_interval", "1m"))
			if err != nil {
				t.Fatalf("%s: %v", q.Where, err)
			}
			if len(found) == 0 && withoutValue[q.Expr] == "" {
				empty = append(empty, q.Where+": "+q.Expr)
			}
		}
		if len(empty) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("without a value:\n%s", strings.Join(empty, "\n"))
		}
		<-time.After(buyEvery)
	}
	p.checkRules(t)
	p.checkExemplars(t)
}

// buyOne has a new customer order something, and waits until that is confirmed.
func (m *mall) buyOne(t *testing.T, shop *visit.Shop) uuid.UUID {
	t.Helper()
	email := uuid.NewString() + "@example.com"
	return m.buyAs(t, shop, email, "a long password "+email, visit.Home)
}

// buyAs is buyOne by a customer with these credentials, who lives there.
func (m *mall) buyAs(t *testing.T, shop *visit.Shop, email, password string, home map[string]any) uuid.UUID {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	customer, err := shop.SignUp(ctx, email, password)
	must(err)
	address, err := customer.Live(ctx, home)
	must(err)
	cart, err := customer.Cart(ctx)
	must(err)
	must(customer.Put(ctx, cart.ID, m.goods[0].SKU, 2))
	quote, err := customer.Quote(ctx, cart.ID, m.voucher)
	must(err)
	order, err := customer.Order(ctx, uuid.NewString(), quote.Token, "tok_success", address)
	must(err)
	status, err := customer.Settled(ctx, order.ID)
	if must(err); status != "confirmed" {
		t.Fatalf("order %s is %s", order.ID, status)
	}
	return order.ID
}

// The metrics that services tell are those that the documents list, and the other way round.
func TestMetricsAreThoseOfTheDocuments(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(sys.Root, "docs", "operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| `(quadrille_[a-z0-9_]+)` \\| (?:counter|gauge|histogram) ").FindAllStringSubmatch(string(text), -1) {
		listed[row[1]] = true
	}
	m := openMall(t)
	shop := visit.NewShop(sys.HTTPURL("gateway"), visit.Mailbox{URL: sys.MailURL(), Key: sys.MailKey()})
	defer shop.Close()
	m.buyOne(t, shop)
	told := make(map[string]bool)
	var untold []string
	defer func() {
		if len(untold) > 0 {
			t.Errorf("the documents list %q, which no service tells", untold)
		}
	}()
	servicetest.Await(t, "each metric that is listed", func() bool { // some a while after what they are about
		for _, app := range sys.Apps() {
			for _, row := range regexp.MustCompile(`(?m)^# TYPE (quadrille_[a-z0-9_]+) `).FindAllStringSubmatch(get(t, sys.HealthURL(app)+"/metrics"), -1) {
				if !told[row[1]] && !listed[row[1]] {
					t.Errorf("%s tells %s, which the documents do not list", app, row[1])
				}
				told[row[1]] = true
			}
		}
		untold = nil
		for name := range listed {
			if !told[name] && name != "quadrille_outbox_refused" && name != "quadrille_customer_erasures_waiting" { // which have values of what goes wrong
				untold = append(untold, name)
			}
		}
		return len(untold) == 0
	})
}

func get(t *testing.T, address string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v %.300s", address, res.Status, err, body)
	}
	return string(body)
}

// prometheus scrapes the services of the stack.
type prometheus struct {
	t   *testing.T
	url string
}

func startPrometheus(t *testing.T, program string) *prometheus {
	t.Helper()
	dir := t.TempDir()
	rules, err := observability.ReadRules(sys.Root)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rules.Groups {
		rules.Groups[i].Interval = "1s"
	}
	if err := rules.WriteFile(filepath.Join(dir, "rules.yaml")); err != nil {
		t.Fatal(err)
	}
	var config strings.Builder
	config.WriteString("global: {scrape_interval: 1s, scrape_timeout: 1s}\nrule_files: [rules.yaml]\nscrape_configs:\n")
	for _, app := range sys.Apps() {
		fmt.Fprintf(&config, "- {job_name: quadrille-%s, static_configs: [{targets: ['%s']}]}\n", app, strings.TrimPrefix(sys.HealthURL(app), "http://"))
	}
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(prometheusPort+options.PortShift))
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address="+addr, "--enable-feature=exemplar-storage")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // its data are of no worth
		_ = cmd.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("prometheus said\n%s", text)
		}
		_ = log.Close()
	})
	return &prometheus{t, "http://" + addr}
}

// ask asks Prometheus, and decodes its answer's data.
func (p *prometheus) ask(path string, data any) error {
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.url+path, http.NoBody)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %w", res.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}

func (p *prometheus) query(expr string) ([]json.RawMessage, error) {
	var data struct{ Result []json.RawMessage }
	err := p.ask("/api/v1/query?query="+url.QueryEscape(expr), &data)
	return data.Result, err
}

// checkRules wants each rule evaluated without an error, and no alert but those that wait.
func (p *prometheus) checkRules(t *testing.T) {
	t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError, State string }
		}
	}
	servicetest.Await(t, "each rule is evaluated", func() bool {
		data.Groups = nil
		if err := p.ask("/api/v1/rules", &data); err != nil {
			t.Fatal(err)
		}
		for _, g := range data.Groups {
			for _, r := range g.Rules {
				if r.Health == "unknown" {
					return false
				}
			}
		}
		return len(data.Groups) > 0
	})
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			if r.Health != "ok" {
				t.Errorf("rule %s is %s: %s", r.Name, r.Health, r.LastError)
			}
			if r.State == "firing" && !slices.Contains(slowAlerts, r.Name) {
				t.Errorf("alert %s fires, and all is well", r.Name)
			}
		}
	}
}

// checkExemplars wants an order's trace at how long orders took.
func (p *prometheus) checkExemplars(t *testing.T) {
	t.Helper()
	var data []struct {
		Exemplars []struct {
			Labels struct {
				TraceID string `json:"trace_id"`
			}
		}
	}
	servicetest.Await(t, "how long orders took has a trace as exemplar", func() bool {
		data = nil
		if err := p.ask("/api/v1/query_exemplars?query=quadrille_saga_seconds_bucket&start=0&end=4102444800", &data); err != nil {
			t.Fatal(err)
		}
		return len(data) > 0 && len(data[0].Exemplars) > 0 && len(data[0].Exemplars[0].Labels.TraceID) == 32
	})
}
