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

	"quadrille.internal/events"
	"quadrille.internal/platform/audit"
	"quadrille.internal/quad/api"
	"quadrille.internal/quad/command"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
	b2b "quadrille.internal/workflows/b2b/audit"
	"quadrille.internal/workflows/b2b/wire"
)

// deal is one order of a company in the demonstration.
type deal struct {
	name, about string
	company     string
	quantity    int64
	vote        wire.Vote // none where nobody decides
	late        bool      // decided only once it was escalated
	ends        string    // the status it has to end with

	colour    string
	id        uuid.UUID
	told      map[string]bool
	escalated bool
	voted     bool
	last      wire.Order
}

// companyPlay is the demonstration of companies' orders.
type companyPlay struct {
	sku   string
	deals []*deal
	began time.Time
}

func newCompanyPlay() *companyPlay {
	run := strings.ToLower(uuid.NewString()[:4])
	company, refused := "demo-"+run, "erp-reject-demo-"+run // whose orders the ERP's stand-in refuses
	alice := wire.Vote{Approver: "alice", Decision: "approve", Reason: "as agreed"}
	p := &companyPlay{sku: "DESK-" + strings.ToUpper(run), deals: []*deal{
		{name: "small", about: "below what the policy wants approved", company: company, quantity: 1, ends: "completed"},
		{name: "approved", about: "alice approves; two warehouses ship", company: company, quantity: 25, vote: alice, ends: "completed"},
		{name: "rejected", about: "alice says no; its credit is free again", company: company, quantity: 5,
			vote: wire.Vote{Approver: "alice", Decision: "reject", Reason: "no budget this year"}, ends: "rejected"},
		{name: "undone", about: "the ERP refuses it; stock and credit go back", company: refused, quantity: 4, vote: alice, ends: "failed"},
		{name: "escalated", about: "alice is away; bob is asked and approves", company: company, quantity: 3, late: true,
			vote: wire.Vote{Approver: "bob", Decision: "approve", Reason: "for alice"}, ends: "completed"},
		{name: "expired", about: "nobody decides", company: company, quantity: 2, ends: "rejected"},
	}}
	palette := []string{"\x1b[36m", "\x1b[34m", "\x1b[35m", "\x1b[33m", "\x1b[95m", "\x1b[96m"}
	for i, d := range p.deals {
		d.colour, d.told = palette[i%len(palette)], make(map[string]bool)
	}
	return p
}

// performB2B plays the scenes of companies' orders.
func performB2B(ctx context.Context, r *installation.Installation) ([]ending, error) {
	p := newCompanyPlay()
	heading("Orders of a company")
	if err := p.prepare(ctx, r.Client); err != nil {
		return nil, fmt.Errorf("prepare the company: %w", err)
	}
	if err := p.submit(ctx, r.Client); err != nil {
		return nil, fmt.Errorf("submit the orders: %w", err)
	}
	heading("What happens to them, as it happens")
	if err := p.watch(ctx, r); err != nil {
		return nil, err
	}
	heading("How they ended")
	return p.ends(), p.printEnds()
}

func (p *companyPlay) ends() []ending {
	ends := make([]ending, len(p.deals))
	for i, d := range p.deals {
		ends[i] = endOf(d.name, d.last.Status, d.last.Reason)
	}
	return ends
}

func (p *companyPlay) prepare(ctx context.Context, client *api.Client) error {
	_, err := client.ForceStock(ctx, p.sku, []api.Count{{Warehouse: "leeds", OnHand: 20}, {Warehouse: "bristol", OnHand: 20}})
	if err != nil {
		return err
	}
	// Days in seconds: nobody watches a demonstration until tomorrow.
	terms := wire.Terms{
		Name: "Demo Ltd", Currency: "GBP", CreditLimit: 1_000_000, Warehouses: []string{"leeds", "bristol"},
		Policy: wire.Policy{
			Rules: []wire.Rule{{From: 20_000, Need: 1}},
			Approvers: []wire.Approver{
				{ID: "alice", Limit: 500_000, Level: 1},
				{ID: "bob", Limit: 5_000_000, Level: 2},
			},
			RemindAfter: wire.Duration(time.Second), EscalateAfter: wire.Duration(2 * time.Second), ExpireAfter: wire.Duration(5 * time.Second),
		},
	}
	for _, d := range p.deals {
		if _, err := client.SetCompany(ctx, d.company, terms); err != nil {
			return err
		}
	}
	return nil
}

func (p *companyPlay) submit(ctx context.Context, client *api.Client) error {
	t := output.NewTable("ORDER", "TOTAL", "").AlignRight(1)
	for _, d := range p.deals {
		receipt, err := client.Submit(ctx, uuid.NewString(), wire.NewOrder{
			CompanyID: d.company, OrderedBy: "carl",
			Lines: []events.Line{{SKU: p.sku, Quantity: d.quantity, UnitPrice: 14_900}},
		})
		if err != nil {
			return err
		}
		d.id = receipt.ID
		t.Add(output.Paint(os.Stdout, d.colour, d.name), audit.Money(receipt.Total), d.about)
	}
	t.Print(os.Stdout)
	return nil
}

// watch prints the moments of all orders as they happen, and has the approvers
// decide, until all have ended.
func (p *companyPlay) watch(ctx context.Context, r *installation.Installation) error {
	ctx, cancel := context.WithTimeout(ctx, playTime)
	defer cancel()
	for {
		left, err := p.step(ctx, r)
		if err != nil || left == "" {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("order %q had not ended after %s: quad b2b show tells more", left, playTime)
		case <-time.After(lookEvery):
		}
	}
}

// step looks at each order once, and returns the name of one that has not ended.
func (p *companyPlay) step(ctx context.Context, r *installation.Installation) (left string, err error) {
	type news struct {
		*deal
		command.SagaMoment
	}
	var fresh []news
	for _, d := range p.deals {
		if d.last.EndedAt != nil {
			continue
		}
		left = d.name
		if d.last, err = r.Client.CompanyOrder(ctx, d.id); err != nil {
			return left, err
		}
		for _, m := range d.fresh(command.SagaMoments(&d.last)) {
			fresh = append(fresh, news{d, m})
		}
		if escalated, err := d.noticeEscalation(ctx, r); err != nil {
			return left, err
		} else if escalated {
			fresh = append(fresh, news{d, command.SagaMoment{At: time.Now(), What: "escalated", Detail: "bob is asked, too"}})
		}
		if err := d.decide(ctx, r.Client); err != nil {
			return left, err
		}
	}
	slices.SortStableFunc(fresh, func(a, b news) int { return a.At.Compare(b.At) })
	for _, n := range fresh {
		if p.began.IsZero() {
			p.began = n.At
		}
		p.tell(n.deal, n.SagaMoment)
	}
	return left, nil
}

func (p *companyPlay) tell(d *deal, m command.SagaMoment) {
	const column = 14
	fmt.Printf("%7.3f s  %s  %s%s  %s\n", m.At.Sub(p.began).Seconds(), output.Paint(os.Stdout, d.colour, fmt.Sprintf("%-10s", d.name)),
		m.What, strings.Repeat(" ", max(column-output.Width(m.What), 0)), output.Paint(os.Stdout, output.Faint, m.Detail))
}

func (d *deal) fresh(moments []command.SagaMoment) []command.SagaMoment {
	return slices.DeleteFunc(moments, func(m command.SagaMoment) bool {
		key := m.What + m.At.String()
		told := d.told[key]
		d.told[key] = true
		return told
	})
}

// noticeEscalation reports whether the next level of approvers was asked just now.
func (d *deal) noticeEscalation(ctx context.Context, r *installation.Installation) (bool, error) {
	if d.last.Status != "awaiting_approval" || d.escalated {
		return false, nil
	}
	books, err := r.Database(ctx, "b2b")
	if err == nil {
		d.escalated, err = b2b.Escalated(ctx, books, d.id)
	}
	if err != nil {
		return false, fmt.Errorf("read the approval of order %s: %w", d.id, err)
	}
	return d.escalated, nil
}

// decide sends the vote once it is time for it.
func (d *deal) decide(ctx context.Context, client *api.Client) error {
	if d.last.Status != "awaiting_approval" || d.voted || d.vote.Approver == "" || d.late && !d.escalated {
		return nil
	}
	d.voted = true
	_, err := client.Decide(ctx, d.id, d.vote)
	return err
}

// printEnds returns an error if an order did not end as it has to.
func (p *companyPlay) printEnds() (err error) {
	t := output.NewTable("ORDER", "ENDED", "WHY", "ID")
	for _, d := range p.deals {
		why := "The ERP has it as " + d.last.ERPOrderID + "."
		if d.last.Reason != nil {
			why = d.last.Reason.Message
		}
		t.Add(output.Paint(os.Stdout, d.colour, d.name), command.PaintB2BStatus(d.last.Status), why, output.Paint(os.Stdout, output.Faint, d.id.String()))
		if d.last.Status != d.ends {
			err = errors.Join(err, fmt.Errorf("order %q is %s, and not %s; quad b2b show %s", d.name, d.last.Status, d.ends, d.id))
		}
	}
	t.Print(os.Stdout)
	return err
}
