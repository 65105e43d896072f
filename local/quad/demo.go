package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"quadrille.internal/events"
	"quadrille.internal/local/stack"
	"quadrille.internal/local/visit"
	"quadrille.internal/platform/audit"
	"quadrille.internal/quad/api"
	"quadrille.internal/quad/command"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
	"quadrille.internal/quad/timeline"
)

func newDemo(g *globals) *cobra.Command {
	var keep, oneProcess bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Start everything, place orders of every kind, watch them settle, prove the books",
		Long: `demo visits the shop as a customer does: signs in, searches, fills a cart while stock
changes, gets a quote with a voucher, orders. Then it places orders that are confirmed,
declined, short of stock and cancelled, and a company's orders that are approved, rejected,
escalated, expired and undone, prints what happens to each as it happens, shows the stock
that is left and proves that the books balance.

It does so twice: first with all services in one process, which is ready soon, then on
Dapr, which takes minutes to build the first time, and shows that both end alike. Stop
it in between if you like (Ctrl-C); what is built stays built. On a stack that is running
it plays once. It uses new SKUs each time.`,
		Example: "  quad demo --one-process\n  quad demo --keep",
		Args:    command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if g.JSON {
				return command.UsageError{Err: errors.New("demo is for people; use quad order place, order show and verify with --json")}
			}
			return demonstrate(cmd.Context(), g, oneProcess, keep)
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave everything running")
	cmd.Flags().BoolVar(&oneProcess, "one-process", false, "only with all services in one process, without Dapr")
	return cmd
}

func demonstrate(ctx context.Context, g *globals, oneProcess, keep bool) error {
	s, err := g.open(nil)
	if err != nil {
		return err
	}
	if anyRunning(ctx, s) {
		if oneProcess && !s.OneProcess() {
			return &stack.EnvironmentError{Problem: "the stack that is running has a process for each service", Remedy: "stop it (quad down), or leave --one-process out"}
		}
		_, err := act(ctx, g, "", true)
		return err
	}
	heading("All services in one process, without Dapr")
	first, err := act(ctx, g, stack.OneProcess, keep && oneProcess)
	if err != nil || oneProcess {
		return err
	}
	heading("Now each service by itself, on Dapr")
	second, err := act(ctx, g, stack.Redis, keep)
	if err != nil {
		return err
	}
	return compareEnds(first, second)
}

// act plays the scenes on one kind of stack, and returns how they ended. Unless the
// stack stays, nothing is left running, also when something fails or the user has seen
// enough.
func act(ctx context.Context, g *globals, broker string, stay bool) (ends []ending, err error) {
	s, err := g.openOn(broker, newProgress(os.Stdout, false).report)
	if err != nil {
		return nil, err
	}
	if !stay {
		defer func() {
			heading("Stopping what was started")
			err = errors.Join(err, s.Down(context.WithoutCancel(ctx)))
		}()
	}
	heading("Starting what is not running")
	for _, step := range []func(context.Context) error{s.BuildToolchain, s.Build, s.Up} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	r, err := g.connect()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return perform(ctx, g, r, visit.Mailbox{URL: s.MailURL(), Key: s.MailKey()})
}

// ending is how a scene ended.
type ending struct{ scene, status, reason string }

// compareEnds shows how the scenes ended in the two acts, and fails if not alike.
func compareEnds(first, second []ending) (err error) {
	heading("How both ended")
	t := output.NewTable("ORDER", "IN ONE PROCESS", "ON DAPR")
	for i, a := range first {
		b := second[i]
		t.Add(a.scene, command.PaintStatus(a.status)+" "+a.reason, command.PaintStatus(b.status)+" "+b.reason)
		if a != b {
			err = errors.Join(err, fmt.Errorf("%s ended otherwise on Dapr than in one process", a.scene))
		}
	}
	t.Print(os.Stdout)
	return err
}

func anyRunning(ctx context.Context, s *stack.Stack) bool {
	for _, part := range s.Status(ctx) {
		if part.PID != 0 {
			return true
		}
	}
	return false
}

func heading(text string) { fmt.Printf("\n%s\n\n", output.Paint(os.Stdout, output.Bold, text)) }

// perform plays the scenes and proves the books.
func perform(ctx context.Context, g *globals, r *installation.Installation, mailbox visit.Mailbox) (ends []ending, err error) {
	visited, err := performVisit(ctx, r, mailbox)
	if err != nil {
		return nil, err
	}
	p := newPlay()
	heading("Orders of every kind")
	if err := p.stock(ctx, r.Client); err != nil {
		return nil, fmt.Errorf("stock the shelves: %w", err)
	}
	if err := p.place(ctx, r.Client); err != nil {
		return nil, fmt.Errorf("place the orders: %w", err)
	}
	heading("What happens to them, as it happens")
	if err := p.watch(ctx, r); err != nil {
		return nil, err
	}
	heading("How they ended")
	ended := p.printEnds()
	heading("The stock that is left")
	if err := p.printStock(ctx, g, r.Client); err != nil {
		return nil, err
	}
	company, err := performB2B(ctx, r)
	if err != nil {
		ended = errors.Join(ended, err)
	}
	heading("The books")
	const settle = 10 * time.Second
	return slices.Concat(visited, p.ends(), company), errors.Join(ended, command.ProveBooks(ctx, g.Globals, r, settle))
}

// scene is one order of the demonstration.
type scene struct {
	name   string
	about  string
	token  string
	lines  []events.Line
	cancel bool   // the customer cancels while the payment is under way
	ends   string // the status it has to end with

	colour string
	id     uuid.UUID
	seen   command.Seen
	last   *timeline.Timeline
}

// play is a demonstration.
type play struct {
	scenes []*scene
	stocks map[string][]api.Count
	skus   []string
	began  time.Time // the first moment
}

func newPlay() *play {
	// New SKUs each time: what earlier demonstrations left is not in the way.
	run := strings.ToUpper(uuid.NewString()[:4])
	kettle, cup, lamp := "KETTLE-"+run, "CUP-"+run, "LAMP-"+run
	p := &play{
		skus: []string{kettle, cup, lamp},
		stocks: map[string][]api.Count{
			kettle: {{Warehouse: "leeds", OnHand: 20}},
			cup:    {{Warehouse: "leeds", OnHand: 30}, {Warehouse: "bristol", OnHand: 20}},
			lamp:   {{Warehouse: "dundee", OnHand: 1}},
		},
	}
	line := func(sku string, quantity, price int64) events.Line {
		return events.Line{SKU: sku, Quantity: quantity, UnitPrice: price}
	}
	p.scenes = []*scene{
		{name: "plain", about: "a kettle and two cups", token: "tok_success", ends: "confirmed",
			lines: []events.Line{line(kettle, 1, 2450), line(cup, 2, 395)}},
		{name: "two houses", about: "40 cups, more than any one warehouse has", token: "tok_success", ends: "confirmed",
			lines: []events.Line{line(cup, 40, 350)}},
		{name: "declined", about: "the bank says no", token: "tok_decline", ends: "cancelled",
			lines: []events.Line{line(kettle, 2, 2450)}},
		{name: "short", about: "two lamps, of which there is one", token: "tok_success", ends: "cancelled",
			lines: []events.Line{line(lamp, 2, 8900)}},
		{name: "regret", about: "the customer cancels while a slow payment is under way", token: "tok_slow", cancel: true, ends: "cancelled",
			lines: []events.Line{line(kettle, 3, 2450)}},
		{name: "flaky", about: "the payment provider fails twice, then charges", token: "tok_flaky", ends: "confirmed",
			lines: []events.Line{line(kettle, 1, 2450)}},
		{name: "lost reply", about: "the provider charges, but its answer is lost", token: "tok_lost_reply", ends: "confirmed",
			lines: []events.Line{line(cup, 1, 395)}},
	}
	palette := []string{"\x1b[36m", "\x1b[34m", "\x1b[35m", "\x1b[33m", "\x1b[95m", "\x1b[96m", "\x1b[94m"}
	for i, s := range p.scenes {
		s.colour = palette[i%len(palette)]
	}
	return p
}

func (p *play) stock(ctx context.Context, client *api.Client) error {
	for sku, counts := range p.stocks {
		if _, err := client.ForceStock(ctx, sku, counts); err != nil {
			return err
		}
	}
	return nil
}

func (p *play) place(ctx context.Context, client *api.Client) error {
	t := output.NewTable("ORDER", "TOTAL", "PAID WITH", "").AlignRight(1)
	for _, s := range p.scenes {
		receipt, err := client.Place(ctx, uuid.NewString(), api.NewOrder{
			CustomerID: "demo", Currency: "GBP", PaymentToken: s.token, Lines: s.lines,
		})
		if err != nil {
			return err
		}
		s.id = receipt.OrderID
		t.Add(output.Paint(os.Stdout, s.colour, s.name), audit.Money(receipt.Total), s.token, s.about)
	}
	t.Print(os.Stdout)
	return nil
}

// lookEvery is how often an order is looked at.
const lookEvery = 50 * time.Millisecond

// playTime bounds the demonstration; a slow payment takes three seconds.
const playTime = 30 * time.Second

// watch prints the moments of all orders as they happen, until all have ended.
func (p *play) watch(ctx context.Context, r *installation.Installation) error {
	ctx, cancel := context.WithTimeout(ctx, playTime)
	defer cancel()
	for {
		var fresh []happening
		left := ""
		for _, s := range p.scenes {
			if s.ended() {
				continue
			}
			left = s.name
			moments, err := s.look(ctx, r)
			if err != nil {
				return err
			}
			fresh = append(fresh, moments...)
		}
		if left == "" {
			return nil
		}
		p.tell(fresh)
		select {
		case <-ctx.Done():
			return fmt.Errorf("order %q had not ended after %s: quad order show tells more", left, playTime)
		case <-time.After(lookEvery / 2):
		}
	}
}

// happening is a moment of one scene.
type happening struct {
	*scene
	timeline.Moment
}

// tell prints what has happened since the last time, in the order it happened.
func (p *play) tell(fresh []happening) {
	slices.SortStableFunc(fresh, func(a, b happening) int { return a.At.Compare(b.At) })
	for _, h := range fresh {
		if p.began.IsZero() {
			p.began = h.At
		}
		fmt.Printf("%7.3f s  %s  %-9s  %s  %s\n", h.At.Sub(p.began).Seconds(), output.Paint(os.Stdout, h.colour, fmt.Sprintf("%-10s", h.name)),
			h.Service, command.PaintMoment(h.Moment), output.Paint(os.Stdout, output.Faint, h.Detail))
	}
}

func (s *scene) ended() bool { return s.last != nil && (s.last.Done || s.last.Parked > 0) }

// look reads the order's timeline and returns what is new. It is where the customer
// of one scene changes his mind.
func (s *scene) look(ctx context.Context, r *installation.Installation) ([]happening, error) {
	books, err := command.TimelineSources(ctx, r)
	if err != nil {
		return nil, err
	}
	t, err := timeline.Read(ctx, books, s.id)
	if err != nil {
		return nil, err
	}
	s.last = t
	var fresh []happening
	for _, m := range s.seen.Fresh(t.Moments) {
		if now := time.Now(); m.At.After(now) {
			m.At = now // an attempt announced is told now
		}
		fresh = append(fresh, happening{s, m})
		if s.cancel && m.What == "charging" {
			if _, err := r.Client.Cancel(ctx, s.id); err != nil {
				return nil, fmt.Errorf("cancel order %s: %w", s.id, err)
			}
		}
	}
	return fresh, nil
}

func (p *play) ends() []ending {
	ends := make([]ending, len(p.scenes))
	for i, s := range p.scenes {
		ends[i] = endOf(s.name, s.last.Status, s.last.Reason)
	}
	return ends
}

func endOf(scene, status string, reason *events.Reason) ending {
	e := ending{scene: scene, status: status}
	if reason != nil {
		e.reason = reason.Code
	}
	return e
}

// printEnds returns an error if an order did not end as it has to.
func (p *play) printEnds() (err error) {
	t := output.NewTable("ORDER", "ENDED", "WHAT THE CUSTOMER READS", "ID")
	for _, s := range p.scenes {
		reason := "Your order is on its way."
		if s.last.Reason != nil {
			reason = s.last.Reason.Message
		}
		t.Add(output.Paint(os.Stdout, s.colour, s.name), command.PaintStatus(s.last.Status), reason, output.Paint(os.Stdout, output.Faint, s.id.String()))
		if s.last.Status != s.ends || s.last.Parked > 0 {
			err = errors.Join(err, fmt.Errorf("order %q is %s, and not %s; quad order show %s", s.name, s.last.Status, s.ends, s.id))
		}
	}
	t.Print(os.Stdout)
	return err
}

func (p *play) printStock(ctx context.Context, g *globals, client *api.Client) error {
	var stocks []api.Stock
	for _, sku := range p.skus {
		stock, err := client.Stock(ctx, sku)
		if err != nil {
			return fmt.Errorf("show stock of %s: %w", sku, err)
		}
		stocks = append(stocks, stock)
	}
	return command.PrintStock(g.Globals, stocks...)
}
