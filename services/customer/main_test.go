package customer

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"go.uber.org/goleak"

	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/config"
	"quadrille.internal/platform/seal"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMigrations(t *testing.T) { servicetest.CheckMigrations(t, migrations) }

const (
	ann       = "0197741f-4a00-7000-8000-00000000cafe"
	ben       = "0197741f-4a00-7000-8000-00000000beef"
	home      = "5f0c6a53-5b5c-4e5e-8a55-3f9d5a4f6b11"
	masterKey = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	profile   = `{"name":"Zaphod Quimby","email":"zaphod@example.com","phone":"+441632960961","language":"en-GB"}`
	address   = `{"recipient":"Zaphod Quimby","lines":["42 Betelgeuse Lane"],"city":"Islington","region":"","postal_code":"N1 9GU","country":"GB","phone":""}`
)

// personal are texts that nothing but a customer's answer may hold.
var personal = []string{"Zaphod", "zaphod@example.com", "+441632960961", "Betelgeuse", "Islington", "N1 9GU"}

// fixture is the service on a database of its own.
type fixture struct {
	t   *testing.T
	kit *service.Kit
	*erasures
	st        *store
	in        *servicetest.Inbox
	api       *servicetest.Client
	operators *servicetest.Client
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	kit := servicetest.NewKit(t, Service())
	kit.Config = config.NewReader(func(name string) (string, bool) { return masterKey, name == seal.Setting })
	st := &store{pool: kit.Pool, log: kit.Log, master: box(t, masterKey, "")}
	e := &erasures{outbox: kit.Outbox, log: kit.Log, within: time.Hour}
	s := &server{store: st, erasures: e, outbox: kit.Outbox, api: kit.API}
	return &fixture{
		t: t, kit: kit, erasures: e, st: st, in: servicetest.RunInbox(t, kit, e.handle),
		api:       servicetest.Serve(t, func(r chi.Router) { s.routes(r.With((&caller.Guard{Required: true}).Handler)) }),
		operators: servicetest.Serve(t, s.operatorRoutes),
	}
}

func box(t *testing.T, current, before string) *seal.Box {
	t.Helper()
	b, err := seal.New(current, before)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// as sends a request of a customer's, and wants a status.
func (f *fixture) as(who, method, path, body string, status int) servicetest.Answer {
	f.t.Helper()
	a := f.api.Do(method, path, body, caller.Header, who)
	if a.Status != status {
		f.t.Errorf("%s %s as %s: %d %s, want %d", method, path, who, a.Status, a.Body, status)
	}
	return a
}

// fill gives Ann a profile, an address, a consent and a group.
func (f *fixture) fill() {
	f.t.Helper()
	f.as(ann, "PUT", of(ann, "profile"), profile, 200)
	f.as(ann, "PUT", of(ann, "addresses/"+home), address, 201)
	f.as(ann, "PUT", of(ann, "consents/newsletter"), `{"granted":true}`, 200)
	if a := f.operators.Do("PUT", of(ann, "groups"), `{"groups":["trade"]}`); a.Status != 200 {
		f.t.Errorf("groups: %d %s", a.Status, a.Body)
	}
}

func of(who, part string) string {
	return strings.TrimSuffix(fmt.Sprintf("/v1/customers/%s/%s", who, part), "/")
}

func decoded[T any](t *testing.T, body string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return v
}
