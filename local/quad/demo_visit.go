package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/local/visit"
	"quadrille.internal/platform/audit"
	"quadrille.internal/quad/api"
	"quadrille.internal/quad/command"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
)

// visitTime bounds a visit; what was published is found within seconds.
const visitTime = 30 * time.Second

// tour is a customer's visit in the demonstration.
type tour struct {
	r        *installation.Installation
	shop     *visit.Shop
	operator *visit.Operator
	product  visit.Product
	voucher  string
	began    time.Time
}

// performVisit plays a customer's visit through the gateway, and returns how the order of
// it ended. A stack without the shop has none.
func performVisit(ctx context.Context, r *installation.Installation, mailbox visit.Mailbox) ([]ending, error) {
	gateway, has := r.Services["gateway"]
	if !has {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, visitTime)
	defer cancel()
	heading("A customer visits the shop")
	t, err := newTour(r, gateway.Public, mailbox)
	if err != nil {
		return nil, err
	}
	defer t.shop.Close()
	if err := t.putOnSale(ctx); err != nil {
		return nil, err
	}
	t.began = time.Now()
	status, err := t.walk(ctx)
	if err != nil {
		return nil, fmt.Errorf("visit the shop: %w", err)
	}
	if status != "confirmed" {
		return nil, fmt.Errorf("the order of the visit is %s, and not confirmed", status)
	}
	return []ending{{scene: "visit", status: status}}, nil
}

func newTour(r *installation.Installation, gateway string, mailbox visit.Mailbox) (*tour, error) {
	run := strings.ToUpper(uuid.NewString()[:4])
	t := &tour{
		r: r, shop: visit.NewShop(gateway, mailbox), voucher: "TENTH-" + run,
		product: visit.Product{SKU: "TEAPOT-" + run, Title: "Stoneware teapot " + run, Description: "Holds a litre; glazed in blue.", Price: 2450},
	}
	var err error
	t.operator, err = visit.OperatorOf(r)
	return t, err
}

func (t *tour) putOnSale(ctx context.Context) error {
	for _, step := range []func() error{
		func() error { return t.operator.Open(ctx) },
		func() error { return t.operator.Sell(ctx, t.product) },
		func() error { return t.operator.Voucher(ctx, t.voucher, 50) },
		func() error { return t.stock(ctx, 12) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("put things on sale: %w", err)
		}
	}
	return nil
}

func (t *tour) stock(ctx context.Context, units int64) error {
	_, err := t.r.Client.ForceStock(ctx, t.product.SKU, []api.Count{{Warehouse: "leeds", OnHand: units}})
	return err
}

// say prints a step with its time since the customer came.
func (t *tour) say(what, detail string) {
	fmt.Printf("%7.3f s  %-34s  %s\n", time.Since(t.began).Seconds(), what, output.Paint(os.Stdout, output.Faint, detail))
}

// walk returns how the customer's order ended.
func (t *tour) walk(ctx context.Context) (status string, err error) {
	email := strings.ToLower(t.product.SKU) + "@example.com"
	customer, err := t.shop.SignUp(ctx, email, uuid.NewString())
	if err != nil {
		return "", err
	}
	t.say("signs up, by the link in a mail", email)
	if err := t.find(ctx, customer); err != nil {
		return "", err
	}
	cart, err := customer.Cart(ctx)
	if err != nil {
		return "", err
	}
	if err := customer.Put(ctx, cart.ID, t.product.SKU, 2); err != nil {
		return "", err
	}
	t.say("puts two into the cart", t.product.SKU)
	if err := t.watch(ctx, customer); err != nil {
		return "", err
	}
	quote, err := t.quote(ctx, customer, cart.ID)
	if err != nil {
		return "", err
	}
	address, err := customer.Live(ctx, visit.Home)
	if err != nil {
		return "", err
	}
	order, err := customer.Order(ctx, uuid.NewString(), quote.Token, "tok_success", address)
	if err != nil {
		return "", err
	}
	if order.Total.Amount != quote.Price.Total {
		return "", fmt.Errorf("the order costs %s, and the quote said %s", audit.Money(order.Total), money(quote.Price.Total))
	}
	t.say("orders, at the price of the quote", audit.Money(order.Total)+"  "+order.ID.String())
	if status, err = customer.Settled(ctx, order.ID); err == nil {
		t.say("the order is "+command.PaintStatus(status), "")
	}
	return status, err
}

// find searches with a mistake in the word, until what was published just now is found.
func (t *tour) find(ctx context.Context, customer *visit.Customer) error {
	words := "tepot " + t.product.SKU[len("TEAPOT-"):]
	for {
		hits, err := customer.Search(ctx, words)
		if err != nil {
			return err
		}
		if len(hits) > 0 {
			t.say(fmt.Sprintf("searches for %q", words), "finds "+hits[0].Title)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%q finds nothing: %w", words, ctx.Err())
		case <-time.After(lookEvery):
		}
	}
}

// watch sees the stock change while the cart is open.
func (t *tour) watch(ctx context.Context, customer *visit.Customer) error {
	var sold time.Time
	var seen []string
	err := customer.Watch(ctx, t.product.SKU, func(level visit.Level) bool {
		switch {
		case level.Available == nil:
			return true
		case len(seen) == 0:
			seen = append(seen, fmt.Sprint(*level.Available))
			sold = time.Now()
			return t.stock(ctx, 5) == nil
		case *level.Available == 5:
			seen = append(seen, fmt.Sprint(*level.Available))
			return false
		default:
			return true
		}
	})
	if err != nil {
		return err
	}
	if len(seen) < 2 {
		return fmt.Errorf("the stock that the browser saw is %v: it was not told of a change", seen)
	}
	t.say("sees the stock change meanwhile", fmt.Sprintf("%s left, then %s, told after %.0f ms", seen[0], seen[1], 1000*time.Since(sold).Seconds()))
	return nil
}

// quote gets a quote; then the price goes up, and the quote holds.
func (t *tour) quote(ctx context.Context, customer *visit.Customer, cart uuid.UUID) (visit.Quote, error) {
	quote, err := customer.Quote(ctx, cart, t.voucher)
	if err != nil {
		return quote, err
	}
	q := quote.Price
	var off int64
	for _, a := range q.Adjustments {
		off += a.Amount
	}
	t.say("gets a quote, with a voucher", fmt.Sprintf("voucher %s, shipping %s, tax %s: %s until %s",
		money(off), money(q.Shipping), money(q.Tax), money(q.Total), q.ExpiresAt.Local().Format("15:04")))
	if err := t.operator.Reprice(ctx, t.product.SKU, t.product.Price+500); err != nil {
		return quote, err
	}
	t.say("the price goes up", "the quote holds")
	return quote, nil
}

func money(amount int64) string {
	return audit.Money(events.Money{Amount: amount, Currency: visit.Currency})
}
