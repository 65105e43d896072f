package shop

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/local/visit"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/quad/command"
	"quadrille.internal/quad/timeline"
	"quadrille.internal/quad/traces"
)

// Steps of a customer's order: each below its cause. Who processes an event is behind the @.
var edges = []struct{ cause, effect string }{
	{"", "POST /v1/checkouts server"}, // at the gateway, which begins the trace
	{"POST /v1/checkouts server", "HTTP POST client"},
	{"HTTP POST client", "POST /v1/checkouts server"},
	{"POST /v1/checkouts server", "quadrille.price.v1.Prices/Commit client"},
	{"quadrille.price.v1.Prices/Commit client", "quadrille.price.v1.Prices/Commit server"},
	{"POST /v1/checkouts server", "quadrille.customer.v1.Customers/Address client"},
	{"quadrille.customer.v1.Customers/Address client", "quadrille.customer.v1.Customers/Address server"},
	{"POST /v1/checkouts server", "transaction of orders"},
	{"POST /v1/checkouts server", "create checkout.order.created.v2"},

	{"create checkout.order.created.v2", "send checkout.order.created.v2"},
	{"create checkout.order.created.v2", "process checkout.order.created.v2@inventory"},
	{"create checkout.order.created.v2", "process checkout.order.created.v2@order"},
	{"process checkout.order.created.v2@inventory", "transaction of events"},
	{"process checkout.order.created.v2@order", "transaction of events"},
	{"process checkout.order.created.v2@inventory", "create inventory.reserved"},

	{"create inventory.reserved", "send inventory.reserved"},
	{"create inventory.reserved", "process inventory.reserved@payment"},
	{"create inventory.reserved", "process inventory.reserved@order"},
	{"process inventory.reserved@payment", "payment provider charging"},
	{"payment provider charging", "transaction of outcomes"},
	{"payment provider charging", "create payment.completed"},

	{"create payment.completed", "send payment.completed"},
	{"create payment.completed", "process payment.completed@order"},
	{"process payment.completed@order", "create order.confirmed"},

	{"create order.confirmed", "send order.confirmed"},
	{"create order.confirmed", "process order.confirmed@checkout"},
	{"create order.confirmed", "process order.confirmed@inventory"},
}

// An order through the shop is one trace, across HTTP, gRPC, outbox, broker and every consumer,
// as quad order show --trace draws it.
func TestOneTraceAnOrder(t *testing.T) {
	m := openMall(t)
	shop := visit.NewShop(sys.HTTPURL("gateway"), visit.Mailbox{URL: sys.MailURL(), Key: sys.MailKey()})
	defer shop.Close()
	order := m.buyOne(t, shop)
	var tree []*traces.Node
	var missing []string
	defer func() {
		if len(missing) > 0 {
			t.Errorf("the trace lacks\n%s\nand is\n%s", strings.Join(missing, "\n"), draw(tree, ""))
		}
	}()
	servicetest.Await(t, "each step is below its cause", func() bool {
		tree = m.traceOf(t, order)
		if missing = missingIn(tree); len(missing) == 0 && len(tree) != 1 {
			missing = []string{fmt.Sprintf("one root, instead of %d", len(tree))}
		}
		return len(missing) == 0
	})
}

// traceOf reads an order's trace as quad order show --trace does. It is empty while nothing was sent.
func (m *mall) traceOf(t *testing.T, order uuid.UUID) []*traces.Node {
	t.Helper()
	books, err := command.TimelineSources(t.Context(), m.Installation)
	if err != nil {
		t.Fatal(err)
	}
	told, err := timeline.Read(t.Context(), books, order)
	if err != nil {
		t.Fatal(err)
	}
	spans, err := traces.Read(t.Context(), m.Traces, told.TraceID)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := traces.Tree(told.TraceID, spans)
	if err != nil && !errors.Is(err, traces.ErrNone) {
		t.Fatal(err)
	}
	return tree
}

func draw(tree []*traces.Node, indent string) string {
	var b strings.Builder
	for _, n := range tree {
		fmt.Fprintf(&b, "%s%s (%s)\n%s", indent, nameOf(n), n.Service, draw(n.Children, indent+"  "))
	}
	return b.String()
}

func nameOf(n *traces.Node) string {
	if consumer := n.Attrs["messaging.consumer.group.name"]; consumer != "" {
		return n.Name + "@" + consumer
	}
	switch n.Kind {
	case "server":
		return n.Name + " server"
	case "client":
		if !strings.HasPrefix(n.Name, "send ") && !strings.HasPrefix(n.Name, "payment provider") {
			return n.Name + " client"
		}
	}
	return n.Name
}

// missingIn lists the edges that a tree lacks.
func missingIn(tree []*traces.Node) (missing []string) {
	has := make(map[string]bool)
	var walk func(cause string, nodes []*traces.Node)
	walk = func(cause string, nodes []*traces.Node) {
		for _, n := range nodes {
			has[cause+" -> "+nameOf(n)] = true
			walk(nameOf(n), n.Children)
		}
	}
	walk("", tree)
	for _, e := range edges {
		if edge := e.cause + " -> " + e.effect; !has[edge] && !slices.Contains(missing, edge) {
			missing = append(missing, edge)
		}
	}
	return missing
}
