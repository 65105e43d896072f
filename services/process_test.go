package services_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/host"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services"
)

// asProcess is set where this program is the process under test.
const asProcess = "QUADRILLE_TEST_AS_PROCESS"

const adminToken = "admin-token"

func TestMain(m *testing.M) {
	if os.Getenv(asProcess) != "" {
		host.Main(services.All()...)
		return
	}
	code := m.Run()
	servicetest.RemoveStandIns()
	os.Exit(code)
}

// consumers are the services that settle a customer's order.
var consumers = []string{"checkout", "inventory", "payment", "order"}

// process runs services together, each on a database of its own, and can be killed.
type process struct {
	t    *testing.T
	runs []string // the services
	psp  servicetest.StandIn
	erp  servicetest.StandIn
	env  map[string]string
	cmd  *exec.Cmd
	end  chan error // how cmd ended
	log  bytes.Buffer
	logs []string // of those killed
}

// newProcess prepares databases, ports and third parties, and starts the services.
func newProcess(t *testing.T, runs ...string) *process {
	t.Helper()
	provider, erp := servicetest.StartStandIn(t, "../local/psp"), servicetest.StartStandIn(t, "../local/erp")
	p := &process{t: t, runs: runs, psp: provider, erp: erp, env: map[string]string{
		"QUADRILLE_PSP_URL": provider.URL, "QUADRILLE_PSP_KEY": provider.Key,
		"QUADRILLE_ERP_URL": erp.URL, "QUADRILLE_ERP_KEY": erp.Key,
		"QUADRILLE_MAIL_KEY": "none is sent",
	}}
	for _, spec := range services.All() {
		if spec.HasDatabase() {
			database := pgtest.New(t)
			database.Migrate(t, spec.Migrations, spec.Grants)
			p.set(spec.Name, "DATABASE_URL", database.Runtime)
		}
		p.set(spec.Name, "ADMIN_TOKEN", adminToken)
		if spec.Sealed {
			p.set(spec.Name, "MASTER_KEY", strings.Repeat("0a", 32))
		}
		for _, port := range []string{"HTTP_ADDR", "ADMIN_ADDR", "HEALTH_ADDR"} {
			p.set(spec.Name, port, servicetest.FreeAddr(t))
		}
	}
	t.Cleanup(func() {
		p.stop(os.Interrupt)
		if t.Failed() {
			t.Logf("logs of the processes:\n%s", strings.Join(p.logs, "\n--- killed\n"))
		}
	})
	p.start()
	return p
}

func (p *process) set(service, name, value string) { p.env[setting(service, name)] = value }

func (p *process) addr(service, port string) string { return p.env[setting(service, port)] }

func setting(service, name string) string {
	return "QUADRILLE_" + strings.ToUpper(service) + "_" + name
}

// start starts the process and waits until its services are ready.
func (p *process) start() {
	p.t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"run"}, p.runs...)...)
	cmd.Env, cmd.Stderr = append(os.Environ(), asProcess+"=yes"), &p.log
	for name, value := range p.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.cmd, p.end = cmd, make(chan error, 1)
	go func() { p.end <- cmd.Wait() }()
	for _, service := range p.runs {
		servicetest.Await(p.t, service+" is ready", func() bool {
			select {
			case err := <-p.end:
				p.ended()
				p.t.Fatalf("it ended before %s was ready: %v", service, err)
			default:
			}
			status, _ := p.request(http.MethodGet, "http://"+p.addr(service, "HEALTH_ADDR")+"/readyz", "")
			return status == http.StatusOK
		})
	}
}

// stop ends the process with a signal and reports a bad end, unless it was killed.
func (p *process) stop(signal os.Signal) {
	p.t.Helper()
	if p.cmd == nil {
		return
	}
	began := time.Now()
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.t.Error(err)
	}
	err := <-p.end
	if signal != os.Kill && (err != nil || time.Since(began) > 30*time.Second) {
		p.t.Errorf("stopped after %v: %v", time.Since(began), err)
	}
	p.ended()
}

// ended keeps the log of the process that was.
func (p *process) ended() {
	p.logs = append(p.logs, p.log.String())
	p.log.Reset()
	p.cmd = nil
}

// request returns the status, or 0 where there is no answer, and the body. A header that is "" is not sent.
func (p *process) request(method, url, body string, header ...string) (int, []byte) {
	p.t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Close = true
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	for i := 0; i+1 < len(header); i += 2 {
		if req.Header.Del(header[i]); header[i+1] != "" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, nil
	}
	return res.StatusCode, raw
}

func (p *process) stock(sku string, onHand int) {
	p.t.Helper()
	url := "http://" + p.addr("inventory", "ADMIN_ADDR") + "/v1/stock/" + sku
	if status, body := p.request(http.MethodPut, url, fmt.Sprintf(`{"warehouses":[{"warehouse":"leeds","on_hand":%d}]}`, onHand), "If-None-Match", "*"); status != http.StatusOK {
		p.t.Fatalf("set stock: %d %s", status, body)
	}
}

// place places an order under a key, and does so again until it is answered.
func (p *process) place(key string) (id uuid.UUID) {
	p.t.Helper()
	servicetest.Await(p.t, "the order is taken in", func() bool {
		status, body := p.request(http.MethodPost, "http://"+p.addr("checkout", "HTTP_ADDR")+"/v1/checkouts",
			`{"customer_id":"c1","currency":"GBP","payment_token":"tok_success","lines":[{"sku":"TEA","quantity":1,"unit_price":450}]}`,
			"Idempotency-Key", key)
		var receipt struct{ ID uuid.UUID }
		_ = json.Unmarshal(body, &receipt) // or there is no id
		id = receipt.ID
		return status == http.StatusAccepted && id != uuid.Nil
	})
	return id
}

// status returns how order sees an order.
func (p *process) status(id uuid.UUID) string {
	p.t.Helper()
	_, body := p.request(http.MethodGet, "http://"+p.addr("order", "ADMIN_ADDR")+"/v1/orders/"+id.String(), "")
	var view struct{ Status string }
	_ = json.Unmarshal(body, &view) // or there is no status
	return view.Status
}

// The services of one process settle an order, with real databases and a payment provider
// in a process of its own.
func TestOneProcessSettlesAnOrder(t *testing.T) {
	p := newProcess(t, consumers...)
	p.stock("TEA", 10)
	began := time.Now()
	id := p.place("k1")
	servicetest.Await(t, "the order is confirmed", func() bool { return p.status(id) == "confirmed" })
	t.Logf("confirmed after %v", time.Since(began))
	_, metrics := p.request(http.MethodGet, "http://"+p.addr("order", "HEALTH_ADDR")+"/metrics", "")
	if !strings.Contains(string(metrics), `quadrille_inbox_handled_total{service="order"}`) {
		t.Error("order's metrics do not name it")
	}
}

// What a cart was quoted is what the provider charges: discount, shipping and tax go all the
// way from price to the provider's ledger, as events of the second version.
func TestOneProcessChargesWhatWasQuoted(t *testing.T) {
	p := newProcess(t, append([]string{"price", "customer", "cart"}, consumers...)...)
	p.stock("TEA", 10)
	do := func(method, service, port, path, body string, answer any, header ...string) {
		t.Helper()
		var status int
		var raw []byte
		servicetest.Await(t, path+" is answered", func() bool { // 503 where another service was slow
			status, raw = p.request(method, "http://"+p.addr(service, port)+path, body, append(header, "Quadrille-Caller", "carl")...)
			return status != 0 && status != http.StatusServiceUnavailable
		})
		if err := json.Unmarshal(raw, answer); err != nil || status/100 != 2 {
			t.Fatalf("%s %s: %d %s, %v", method, path, status, raw, err)
		}
	}
	var ignored map[string]any
	for path, body := range map[string]string{
		"lists/retail":     `{"group": "", "currency": "GBP", "valid_from": "2026-01-01"}`,
		"taxes/standard":   `{"rate": 200000, "valid_from": "2026-01-01"}`,
		"shipping/parcels": `{"currency": "GBP", "amount": 499}`,
	} {
		do(http.MethodPut, "price", "ADMIN_ADDR", "/v1/prices/"+path, body, &ignored)
	}
	do(http.MethodPut, "price", "ADMIN_ADDR", "/v1/prices/lists/retail/prices", `{"prices": [{"sku": "TEA", "tiers": [{"min_quantity": 1, "amount": 450}]}]}`, &ignored)
	do(http.MethodPut, "price", "ADMIN_ADDR", "/v1/vouchers/SPRING", `{"max_uses": 1, "kind": "order_percentage", "rate": 100000, "valid_from": "2026-01-01"}`, &ignored)
	var cart struct{ ID uuid.UUID }
	do(http.MethodPost, "cart", "HTTP_ADDR", "/v1/carts", `{}`, &cart, "Idempotency-Key", "k0")
	do(http.MethodPut, "cart", "HTTP_ADDR", "/v1/carts/"+cart.ID.String()+"/lines/TEA", `{"quantity": 2}`, &ignored)
	var quoted struct {
		Token string
		Quote struct{ Total int64 }
	}
	servicetest.Await(t, "price has time for a quote", func() bool {
		do(http.MethodPost, "cart", "HTTP_ADDR", "/v1/carts/"+cart.ID.String()+"/quote", `{"currency": "GBP", "voucher": "SPRING"}`, &quoted)
		return quoted.Token != ""
	})
	if quoted.Quote.Total != 1571 { // 810, shipping 499, a fifth of both
		t.Fatalf("quoted %+v", quoted)
	}
	var receipt struct{ ID uuid.UUID }
	do(http.MethodPost, "checkout", "HTTP_ADDR", "/v1/checkouts", fmt.Sprintf(`{"payment_token": "tok_success", "quote": %q}`, quoted.Token), &receipt, "Idempotency-Key", "k1")
	servicetest.Await(t, "the order is confirmed", func() bool { return p.status(receipt.ID) == "confirmed" })
	var ledger struct{ Data []struct{ Amount int64 } }
	_, body := p.request(http.MethodGet, p.psp.URL+"/v1/charges?limit=10", "", "Authorization", "Bearer "+p.psp.Key)
	if err := json.Unmarshal(body, &ledger); err != nil || len(ledger.Data) != 1 || ledger.Data[0].Amount != quoted.Quote.Total {
		t.Errorf("charged %s, %v, want %d once", body, err, quoted.Quote.Total)
	}
}

// However often the process is killed, every order that was taken in settles once it runs.
func TestOneProcessIsKilled(t *testing.T) {
	p := newProcess(t, consumers...)
	p.stock("TEA", 1_000)
	var orders []uuid.UUID
	for round := range 3 {
		for n := range 30 {
			orders = append(orders, p.place(fmt.Sprint(round, "-", n)))
		}
		p.stop(os.Kill)
		p.start()
	}
	servicetest.Await(t, "all orders are confirmed", func() bool {
		for len(orders) > 0 && p.status(orders[0]) == "confirmed" {
			orders = orders[1:]
		}
		return len(orders) == 0
	})
	servicetest.Await(t, "90 are shipped", func() bool {
		_, body := p.request(http.MethodGet, "http://"+p.addr("inventory", "ADMIN_ADDR")+"/v1/stock/TEA", "")
		return strings.Contains(string(body), `"on_hand":910`) && strings.Contains(string(body), `"held":0`)
	})
}
