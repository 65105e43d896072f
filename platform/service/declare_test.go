package service_test

import (
	"strings"
	"testing"

	"quadrille.internal/events/order"
	"quadrille.internal/events/payment"
	"quadrille.internal/platform/host"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/service"
)

func TestCheckRefusesWhatIsNotSo(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*service.Spec)
		want   string
	}{
		"nothing":             {func(*service.Spec) {}, ""},
		"no name":             {func(s *service.Spec) { s.Name = "Order" }, "small letters"},
		"no port":             {func(s *service.Spec) { s.Port = 0 }, "port 0 does not begin a block"},
		"within a block":      {func(s *service.Spec) { s.Port = 18410 }, "port 18410"},
		"port of PostgreSQL":  {func(s *service.Spec) { s.Port = 18540 }, "port 18540"},
		"port of the psp":     {func(s *service.Spec) { s.Port = 18900 }, "port 18900"},
		"unregistered":        {func(s *service.Spec) { s.Emits = []string{"order.lost"} }, `Emits has "order.lost", which is not registered`},
		"of another":          {func(s *service.Spec) { s.Emits = []string{payment.TypeFailed} }, "payment.failed, which belongs to payment"},
		"not heard of before": {func(s *service.Spec) { s.EmittedBefore = []string{"order.lost"} }, `EmittedBefore has "order.lost"`},
		"not sent before":     {func(s *service.Spec) { s.EmittedBefore = []string{payment.TypeFailed} }, "call events.PublishedBefore in events/payment/register.go"},
		"emits twice":         {func(s *service.Spec) { s.EmittedBefore = []string{order.TypeConfirmed} }, "is declared twice"},
		"hears nothing real":  {func(s *service.Spec) { s.Hears = []string{"order.lost"} }, `Hears has "order.lost"`},
		"twice":               {func(s *service.Spec) { s.Hears = []string{topic, topic} }, "is declared twice"},
		"no path":             {func(s *service.Spec) { s.Paths = []string{"v1/orders"} }, `Paths has "v1/orders"`},
		"a path with an end":  {func(s *service.Spec) { s.Paths = []string{"/v1/orders/"} }, `Paths has "/v1/orders/"`},
		"a path with dots":    {func(s *service.Spec) { s.Paths = []string{"/v1/.."} }, `Paths has "/v1/.."`},
		"a path twice":        {func(s *service.Spec) { s.Paths = []string{"/v1/orders", "/v1/orders"} }, "/v1/orders is declared twice"},
		"well-known":          {func(s *service.Spec) { s.Paths = []string{"/.well-known", "/v1/orders"} }, ""},
		"emits from nowhere":  {func(s *service.Spec) { s.Migrations, s.Hears = nil, nil }, "needs a database"},
		"hears into nowhere":  {func(s *service.Spec) { s.Migrations, s.Emits = nil, nil }, "needs a database"},
		"no database":         {func(s *service.Spec) { s.Migrations, s.Emits, s.Hears = nil, nil, nil }, ""},
		"no method":           {func(s *service.Spec) { s.Calls = []string{"Allocate"} }, `Calls has "Allocate"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := service.Spec{Name: "order", Port: 18400, Migrations: pgtest.None, Emits: []string{order.TypeConfirmed}, Hears: []string{topic}}
			c.change(&s)
			err := s.Check()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// A service whose declaration is wrong does not start, and says why.
func TestAWrongDeclarationIsRefusedAtStart(t *testing.T) {
	s := spec(nil, nil)
	s.Emits = []string{"order.lost"}
	err := host.Run(t.Context(), []service.Spec{s}, lookup(nil), new(log))
	if err == nil || !strings.Contains(err.Error(), "which is not registered") {
		t.Errorf("started: %v", err)
	}
}
