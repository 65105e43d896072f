package services_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/servicetest"
	"quadrille.internal/workflows/b2b/wire"
)

const (
	kills = 8
	// betweenKills is how long the process lives at most once it is ready.
	betweenKills = 1500 * time.Millisecond
	// patience is how long people repeat a request while the process is killed.
	patience = 5 * time.Minute
	// settled is how long orders take at most once nothing is killed. After a minute b2b
	// itself would begin a workflow again that the engine had forgotten.
	settled = 40 * time.Second
	desks   = 10_000
)

// fate is what people do about a company's order, and how it then ends.
type fate struct {
	name, company string
	price         int64 // from 1000 on somebody must approve
	vote          string
	ends          string
	inERP         string // the state of the order at the ERP, "" where it has none
}

var fates = []fate{
	{"wants no approval", "acme", 500, "", "completed", "open"},
	{"is approved", "acme", 2_000, "approve", "completed", "open"},
	{"is rejected", "acme", 2_000, "reject", "rejected", ""},
	{"expires", "hasty", 2_000, "", "rejected", ""},
	{"is refused by the ERP", "erp-reject-acme", 500, "", "failed", ""},
}

// company sets the terms of a company, with one approver.
func (p *process) company(id, expires string) {
	p.t.Helper()
	terms := fmt.Sprintf(`{"name":%q,"currency":"GBP","credit_limit":1000000000,"warehouses":["leeds"],"policy":{
		"rules":[{"from":1000,"need":1}],"approvers":[{"id":"bob","limit":1000000,"level":1}],"delegations":[],
		"remind_after":"0s","escalate_after":"0s","expire_after":%q}}`, id, expires)
	if status, body := p.request(http.MethodPut, "http://"+p.addr("b2b", "ADMIN_ADDR")+"/v1/b2b/companies/"+id, terms); status != http.StatusOK {
		p.t.Fatalf("set the terms of %s: %d %s", id, status, body)
	}
}

// repeat sends a request with a key until it is answered with one of these. It may be
// called from any goroutine.
func (p *process) repeat(method, url, body string, answer any, want ...int) error {
	key := uuid.NewString()
	deadline := time.Now().Add(patience)
	for {
		status, raw := p.request(method, url, body, "Idempotency-Key", key)
		for _, w := range want {
			if status == w {
				return json.Unmarshal(raw, answer)
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s %s: %d %s", method, url, status, raw)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// live has an order placed and people do what they do about it.
func (p *process) live(f fate) (uuid.UUID, error) {
	url := "http://" + p.addr("b2b", "HTTP_ADDR") + "/v1/b2b/orders"
	var receipt wire.Receipt
	err := p.repeat(http.MethodPost, url, fmt.Sprintf(
		`{"company_id":%q,"ordered_by":"carl","lines":[{"sku":"DESK","quantity":1,"unit_price":%d}]}`, f.company, f.price),
		&receipt, http.StatusAccepted)
	if err != nil || f.vote == "" {
		return receipt.ID, err
	}
	var order wire.Order
	for deadline := time.Now().Add(patience); order.Status != "awaiting_approval"; {
		if err := p.repeat(http.MethodGet, p.orderURL(receipt.ID), "", &order, http.StatusOK); err != nil || order.EndedAt != nil || time.Now().After(deadline) {
			return receipt.ID, errors.Join(err, fmt.Errorf("order %s is %s and not at its gate, steps %s", receipt.ID, order.Status, steps(order)))
		}
		<-time.After(20 * time.Millisecond)
	}
	<-time.After(rand.N(500 * time.Millisecond)) // so that kills find orders that wait
	var poll wire.Poll
	return receipt.ID, p.repeat(http.MethodPost, url+"/"+receipt.ID.String()+"/approval",
		fmt.Sprintf(`{"approver":"bob","decision":%q,"reason":"because"}`, f.vote), &poll, http.StatusOK, http.StatusConflict)
}

func (p *process) orderURL(id uuid.UUID) string {
	return "http://" + p.addr("b2b", "ADMIN_ADDR") + "/v1/b2b/orders/" + id.String()
}

// flow places orders until it is stopped and returns what is to become of each.
func (p *process) flow(customers int) (stop func() map[uuid.UUID]fate) {
	ends, done := map[uuid.UUID]fate{}, make(chan struct{})
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range customers {
		all.Go(func() {
			for n := i; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				f := fates[n%len(fates)]
				id, err := p.live(f)
				if err != nil {
					p.t.Errorf("an order that %s: %v", f.name, err)
					return
				}
				mu.Lock()
				ends[id] = f
				mu.Unlock()
			}
		})
	}
	return func() map[uuid.UUID]fate { close(done); all.Wait(); return ends }
}

// However often the process is killed, each company's order ends as was decided about
// it, and nothing is done twice: not in the stock, not at the ERP, not in the decisions.
func TestCompaniesOrdersWhileOneProcessIsKilled(t *testing.T) {
	p := newProcess(t, "inventory", "b2b")
	p.set("b2b", "STEP_ATTEMPTS", "10000") // a step may fail as often as it must: kills decide nothing
	p.stock("DESK", desks)
	for company, expires := range map[string]string{"acme": "1h", "erp-reject-acme": "1h", "hasty": "2s"} {
		p.company(company, expires)
	}
	stop := p.flow(6)
	for range kills {
		<-time.After(rand.N(betweenKills))
		p.stop(os.Kill)
		p.start()
	}
	ends := stop()
	t.Logf("%d orders, %d kills", len(ends), kills)
	began := time.Now()
	completed := 0
	for id, f := range ends {
		if f.ends == "completed" {
			completed++
		}
		p.checkEnd(id, f, began.Add(settled))
	}
	t.Logf("all ended %v after the last kill and request", time.Since(began).Round(time.Millisecond))
	servicetest.Await(t, "the stock is as the orders are", func() bool {
		status, body := p.request(http.MethodGet, "http://"+p.addr("inventory", "ADMIN_ADDR")+"/v1/stock/DESK", "")
		var stock struct {
			Warehouses []struct {
				OnHand int `json:"on_hand"`
				Held   int
			}
		}
		err := json.Unmarshal(body, &stock)
		return err == nil && status == http.StatusOK && len(stock.Warehouses) == 1 &&
			stock.Warehouses[0].Held == 0 && stock.Warehouses[0].OnHand == desks-completed
	})
}

// checkEnd waits for the end of an order and looks at the ERP and the decisions.
func (p *process) checkEnd(id uuid.UUID, f fate, deadline time.Time) {
	p.t.Helper()
	var order wire.Order
	for order.EndedAt == nil && time.Now().Before(deadline) {
		if err := p.repeat(http.MethodGet, p.orderURL(id), "", &order, http.StatusOK); err != nil {
			p.t.Fatal(err)
		}
	}
	if order.EndedAt == nil || order.Status != f.ends {
		p.t.Errorf("order %s, which %s, is %s, waits for %q, steps %s", id, f.name, order.Status, order.WaitsFor, steps(order))
	}
	decisions := 0
	if f.vote != "" {
		decisions = 1
	}
	if len(order.Decisions) != decisions || decisions > 0 && order.Decisions[0].Verdict != f.vote {
		p.t.Errorf("order %s, which %s, has decisions %+v", id, f.name, order.Decisions)
	}
	var erp struct{ Data []struct{ Status string } }
	status, body := p.request(http.MethodGet, p.erp.URL+"/v1/orders?limit=10&external_id="+id.String(), "", "Authorization", "Bearer "+p.erp.Key)
	if err := json.Unmarshal(body, &erp); err != nil || status != http.StatusOK {
		p.t.Fatalf("ask the ERP: %d %s", status, body)
	}
	if open := len(erp.Data) == 1 && erp.Data[0].Status == "open"; open != (f.inERP == "open") || len(erp.Data) > 1 {
		p.t.Errorf("order %s, which %s, is at the ERP as %+v", id, f.name, erp.Data)
	}
}

func steps(o wire.Order) string {
	text, _ := json.Marshal(o.Steps) // they were just decoded
	return string(text)
}
